"""`nsqkit top`: shows in the terminal who fails, why, since when, how much is affected, and saturation."""

"""The sample team's handler modules; they import nothing of this project but ``nsqkit``."""

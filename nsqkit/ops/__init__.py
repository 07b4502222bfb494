"""Commands for operators: feed, tail, pause, and nsqd's limits."""

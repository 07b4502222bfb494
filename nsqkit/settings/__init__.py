"""The settings: one table of names, defaults, ranges and units; read from flags, environment and file."""

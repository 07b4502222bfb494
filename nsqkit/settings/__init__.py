"""The settings: one table with name, default, range and unit; from flags, environment and file."""

"""The rules, as pure functions and values: no clock, no draw, no I/O, the standard library only."""

"""Policies: the rules as pure functions and values, without clock, random draw, I/O or third-party code."""

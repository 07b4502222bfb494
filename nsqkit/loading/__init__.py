"""From module names to checked handler classes."""

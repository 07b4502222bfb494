"""Worker processes: a single run, reloads on change, and child processes."""

"""Which workers run, and under whom: run, reload, child processes."""

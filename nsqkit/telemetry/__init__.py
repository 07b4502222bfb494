"""What a process reports about itself: logs, metrics and the event loop's lag."""

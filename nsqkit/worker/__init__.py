"""One worker: all parts wired, and one subscription for each handler."""

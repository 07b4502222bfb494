"""One worker: builds all parts, with one subscription for each handler."""

"""The API for writing handlers: handler classes, batches, Context, resources, breakers, retrying."""

"""What teams write handlers with: handler classes, batches, Context, resources, breakers, retrying."""

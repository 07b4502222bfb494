"""Codec: bodies to typed events and back; one module each for envelope, models, JSON and both ways."""

"""The codec: decodes bodies into typed events and encodes events into bodies."""

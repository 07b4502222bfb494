"""Operator commands: publish and feed, tail, pause, and a check of nsqd's limits."""

"""Versions: one script for each revision of the schema. A released one is never changed."""

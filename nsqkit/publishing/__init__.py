"""Publishers of events, and the batching of their publishes."""

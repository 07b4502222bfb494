"""Events out: publishers, and how their publishes are joined."""

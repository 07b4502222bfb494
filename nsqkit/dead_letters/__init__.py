"""Dead letters after they are one: collected from NSQ into a store, looked at, replayed, deleted."""

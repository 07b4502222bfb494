"""Dead letters after they were published: collected from NSQ into a store, inspected, replayed, deleted."""

"""`nsqkit dead`: collects dead letters into a store, lists, shows, replays and deletes them."""

"""What teams test with: the contract suite of NSQ's rules, and the harness for handlers."""

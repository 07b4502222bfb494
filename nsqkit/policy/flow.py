"""How a handler's max_in_flight is shared among its connections, as RDY counts."""


def rdy_shares(budget: int, connections: int, *, trickles: int = 0, turn: int = 0) -> tuple[int, ...]:
    """Return one RDY count per connection; together they are the whole budget.

    Args:
        budget: Messages that may be in flight over all connections; 0 or more.
        connections: How many connections share it; 0 or more.
        trickles: How many of them, the last ones, have little to bring, as `.retry` topics do: where
            the budget reaches everyone they get 1 each, and the others what is left.
        turn: Which connection gets the first of what cannot be shared evenly. Raising it by
            one moves that on by one, so that a budget smaller than the number of connections
            reaches every connection in turn.

    Returns:
        A tuple of length *connections* with sum *budget*; but for trickles no two counts differ by
        more than one.

    Raises:
        ValueError: If *budget* or *connections* is negative, or *trickles* not in 0..connections.
    """
    if budget < 0 or not 0 <= trickles <= connections:
        raise ValueError(f"budget={budget!r} connections={connections!r} trickles={trickles!r}")
    if 0 < trickles < connections <= budget:
        return rdy_shares(budget - trickles, connections - trickles, turn=turn) + (1,) * trickles
    if connections == 0:
        return ()
    share, remainder = divmod(budget, connections)
    return tuple(share + ((index - turn) % connections < remainder) for index in range(connections))

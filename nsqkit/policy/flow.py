"""How a handler's max_in_flight is shared among its connections, as RDY counts."""


def rdy_shares(budget: int, connections: int, *, trickles: int = 0, turn: int = 0) -> tuple[int, ...]:
    """Return one RDY count per connection.

    Args:
        budget: Messages that may be in flight over the connections; 0 or more.
        connections: How many there are; 0 or more.
        trickles: How many of them, the last ones, have little to bring, as `.retry` topics do: unless
            the budget is 0 they get 1 each on top of it, so that an idle one costs nothing.
        turn: Which connection gets the first of what cannot be shared evenly. Raising it by
            one moves that on by one, so that a budget smaller than the number of connections
            reaches every connection in turn.

    Returns:
        A tuple of length *connections*. All but the trickles have the sum *budget*, and no two of
        them differ by more than one.

    Raises:
        ValueError: If *budget* or *connections* is negative, or *trickles* not in 0..connections.
    """
    if budget < 0 or not 0 <= trickles <= connections:
        raise ValueError(f"budget={budget!r} connections={connections!r} trickles={trickles!r}")
    sharing = connections - trickles
    share, remainder = divmod(budget, max(sharing, 1))
    shares = (share + ((index - turn) % sharing < remainder) for index in range(sharing))
    return (*shares, *(min(budget, 1),) * trickles)

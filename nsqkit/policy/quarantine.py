"""Quarantine: which deliveries may end their process, and in which order those run, one at a time.

A delivery beyond max_attempts had earlier ones that left no outcome: its process ended, or was killed. What
ended it is one of all the messages that the process held, and each of them lost an attempt with it.
"""


def is_suspect(attempts: int, max_attempts: int) -> bool:
    """Return whether a delivery runs alone in its worker.

    Args:
        attempts: Deliveries so far, this one included; 1 or more.
        max_attempts: The handler's.
    """
    return attempts > max_attempts


def turn(attempts: int, message_id: bytes) -> tuple[int, int]:
    """Return a key by which the suspects that a worker holds are run, the least first.

    Fewer attempts go first: whatever ends the process was held at every crash. Among equals the order of ids
    turns round with every attempt. Those that run before the culprit end well, those after it are spared by
    the next crash at the latest: two crashes clear all that are held together, where an order drawn by lot
    would clear half of them each time.

    Args:
        attempts: Deliveries so far, this one included; 1 or more.
        message_id: nsqd's id, 16 hex digits.
    """
    rank = int.from_bytes(message_id)
    return attempts, rank if attempts % 2 else -rank

"""Quarantine: find messages that may crash their process, and order them to run one at a time.

A delivery beyond max_attempts means that earlier deliveries left no outcome: their process crashed or was
killed. Any message in flight in that process may be the cause, and each of them lost an attempt.
"""


def is_suspect(attempts: int, max_attempts: int) -> bool:
    """Return whether a delivery must run alone in its worker.

    Args:
        attempts: Deliveries so far, this one included; 1 or more.
        max_attempts: Limit of the handler's retry policy; 1 or more.
    """
    return attempts > max_attempts


def turn(attempts: int, message_id: bytes) -> tuple[int, int]:
    """Return a sort key for the suspects of a worker; the smallest key runs first.

    Suspects with fewer attempts run first, because the culprit was in flight at every crash. Among equal
    attempts the order of ids reverses with every attempt: messages before the culprit succeed now, messages
    after it succeed in the reversed order. So two crashes clear all other suspects; a random order would
    clear only half of them each time.

    Args:
        attempts: Deliveries so far, this one included; 1 or more.
        message_id: nsqd's id, 16 hex digits.
    """
    rank = int.from_bytes(message_id)
    return attempts, rank if attempts % 2 else -rank

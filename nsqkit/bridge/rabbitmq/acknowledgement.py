"""Acknowledgements: how few commands acknowledge some of the deliveries of a channel. Pure."""

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Acknowledgement(NamedTuple):
    """A ``basic.ack``.

    Args:
        tag: Delivery tag, 1 or more.
        multiple: Whether it acknowledges all earlier deliveries of the channel, too.
    """

    tag: int
    multiple: bool


def acknowledgements(open_tags: Sequence[int], done: Collection[int]) -> tuple[Acknowledgement, ...]:
    """Return the commands that acknowledge exactly the tags that are done.

    Args:
        open_tags: Tags of all deliveries that are not acknowledged, ascending.
        done: Tags to acknowledge; others than open ones are left out.
    """
    before = 0
    while before < len(open_tags) and open_tags[before] in done:
        before += 1
    first = (Acknowledgement(open_tags[before - 1], multiple=before > 1),) if before else ()
    return first + tuple(Acknowledgement(tag, multiple=False) for tag in open_tags[before:] if tag in done)

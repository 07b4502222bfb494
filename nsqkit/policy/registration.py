"""Registration: which channels of a worker nsqlookupd must know, and when the worker is ready for it."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from nsqkit.policy.names import is_ephemeral

Pair = tuple[str, str]
"""A topic and a channel."""


class RegistrationState(StrEnum):
    """Whether an nsqlookupd has a worker's channels."""

    PENDING = "pending"
    REGISTERED = "registered"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


class Registration(NamedTuple):
    """A worker's channels at one nsqlookupd.

    Args:
        state: Whether they are registered.
        problem: One line for ``/readyz``; empty if they are registered.
    """

    state: RegistrationState
    problem: str = ""


def durable(pairs: Iterable[Pair]) -> frozenset[Pair]:
    """Return the pairs without an ephemeral name; nsqd makes an ephemeral channel only for its client."""
    return frozenset(pair for pair in pairs if not any(map(is_ephemeral, pair)))


def by_topic(pairs: Iterable[Pair]) -> dict[str, frozenset[str]]:
    """Return the channels of each topic."""
    found: dict[str, set[str]] = {}
    for topic, channel in pairs:
        found.setdefault(topic, set()).add(channel)
    return {topic: frozenset(channels) for topic, channels in found.items()}


def kept(pairs: frozenset[Pair], topics: frozenset[str]) -> frozenset[Pair]:
    """Return the pairs to register again after a restart of an nsqlookupd.

    A topic that an nsqlookupd does not know although it has not restarted was deleted by an operator.

    Args:
        pairs: All durable pairs of the worker.
        topics: What this nsqlookupd knew when it was last asked before its restart.
    """
    return frozenset(pair for pair in pairs if pair[0] in topics)


def registration_problems(registrations: Mapping[str, Registration]) -> tuple[str, ...]:
    """Return why the worker's channels are not known well enough, one line each; empty if they are.

    One nsqlookupd has to know them. Another that cannot be reached is no problem, because nsqd asks all.

    Args:
        registrations: By the address of each nsqlookupd.
    """
    states = {each.state for each in registrations.values()}
    tolerated = {RegistrationState.REGISTERED}
    if RegistrationState.REGISTERED in states:
        tolerated.add(RegistrationState.UNREACHABLE)
    return tuple(each.problem for each in registrations.values() if each.state not in tolerated)

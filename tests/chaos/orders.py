"""Orders: the sample orders again and again, each under an id of its own that says how its handling goes."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "data" / "orders.jsonl"

ORDERS = "orders"
MAILS = "mails"
BREAKERS, PAUSES, SWITCHES = "breakers", "pauses", "switches"
ONE, THREE = "one", "three"
WILD, FLEETING = "wild", "fleeting"
CHANNEL = "chaos"

QUICK = "quick"
"""Takes up to 20 ms."""
SLOW = "slow"
"""Takes longer than a worker that is told to stop gives it."""
FLAKY = "flaky"
"""Fails the first time."""
HANGING = "hanging"
"""Never ends the first time, until it is cancelled."""
GREEDY = "greedy"
"""Holds 50 to 200 MB for a moment."""
PLAIN = "plain"
"""A quick one in a thread."""
BLOCKED = "blocked"
"""Takes longer than its timeout the first time, in a thread, where it cannot be cancelled."""
INSTANT = "instant"
"""Takes no time at all."""
FORGOTTEN = "forgotten"
"""Is finished and never handled: a worker that loses it, to see that this would be noticed."""
HOPELESS = "hopeless"
"""Always fails."""
UNDECODABLE = "undecodable"
"""Has a line of quantity 0 in the sample, which its type does not allow."""
POISON = "poison"
"""Kills its process."""
DEAF = "deaf"
"""Never ends the first time, and ignores that it is cancelled."""
GUARDED = "guarded"
"""Needs the dependency, behind a breaker."""
PAUSING = "pausing"
"""Needs the dependency; the handler pauses while that is away."""
SWITCHED = "switched"
"""Needs the dependency; the handler has a kill switch."""
SINGLE = "single"
"""One of its handler may be in flight."""
TRIPLE = "triple"
"""Three of its handler may be in flight."""
BLOCKING = "blocking"
"""Blocks the event loop of its worker for 2 s."""
FATAL = "fatal"
"""Raises what would end a program, the first times."""
OVERSIZED = "oversized"
"""Publishes an event that nsqd refuses for its size."""
GARBLED = "garbled"
"""Is no JSON and no text."""
SURROGATE = "surrogate"
"""Has a type that is no text: a lone surrogate."""
PASSING = "passing"
"""Goes to a topic that is deleted afterwards."""

TOPICS: Mapping[str, str] = {
    PLAIN: MAILS,
    BLOCKED: MAILS,
    GUARDED: BREAKERS,
    PAUSING: PAUSES,
    SWITCHED: SWITCHES,
    SINGLE: ONE,
    TRIPLE: THREE,
    BLOCKING: WILD,
    FATAL: WILD,
    OVERSIZED: WILD,
    PASSING: FLEETING,
}
"""Where the kinds go; all others to ``ORDERS``."""
DEPENDENT = frozenset({GUARDED, PAUSING, SWITCHED})
"""The kinds that need the dependency."""
MAX_IN_FLIGHT: Mapping[str, int] = {SINGLE: 1, TRIPLE: 3} | dict.fromkeys(DEPENDENT, 10)
"""How many messages their handlers may have in flight in a worker."""
DEAD_LETTERS: Mapping[str, str] = {
    HOPELESS: "exhausted",
    UNDECODABLE: "undecodable",
    POISON: "crash_suspect",
    OVERSIZED: "exhausted",
    GARBLED: "undecodable",
    SURROGATE: "undecodable",
}
"""The kinds that are to become dead letters, with the reason; all others are to succeed."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order to publish.

    Args:
        id: Its number and its kind; no other order has it.
        topic: Where it goes.
        body: Its envelope.
    """

    id: str
    topic: str
    body: bytes


def kind_of(order_id: str) -> str:
    """Return how the handling of an order goes."""
    return order_id.rpartition("-")[2]


class Orders:
    """An endless supply of orders.

    Args:
        weights: How often each kind is drawn, in relation to the others.
        seed: Of the draws.
        special: Kinds of certain numbers, from 0.
        only_valid: Leave out what the sample has of undecodable ones.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        seed: int,
        *,
        special: Mapping[int, str] | None = None,
        only_valid: bool = False,
    ) -> None:
        self._kinds, self._weights = list(weights), list(weights.values())
        self._draws = random.Random(seed)
        self._special = special or {}
        self._number = 0
        sample = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
        self._sample = [each for each in sample if _is_valid(each) or not only_valid]

    def take(self, count: int) -> list[Order]:
        """Return the next orders."""
        return [self._next() for _ in range(count)]

    def take_of(self, kind: str, count: int) -> list[Order]:
        """Return the next orders, all of one kind."""
        return [self._next(kind) for _ in range(count)]

    def _next(self, wanted: str | None = None) -> Order:
        number, self._number = self._number, self._number + 1
        envelope = self._sample[number % len(self._sample)]
        (kind,) = self._draws.choices(self._kinds, self._weights)
        if not _is_valid(envelope):
            kind = UNDECODABLE
        kind = wanted or self._special.get(number, kind)
        own_id = f"{number:07d}-{kind}"
        changed = {**envelope, "id": own_id, "data": {**envelope["data"], "order_id": own_id}}
        body = json.dumps(changed).encode()
        if kind == GARBLED:
            body = b"\xff\x00 " + own_id.encode()
        elif kind == SURROGATE:
            body = json.dumps({**changed, "type": "\ud800"}).encode()
        return Order(own_id, TOPICS.get(kind, ORDERS), body)


def _is_valid(envelope: Mapping[str, Mapping[str, list[Mapping[str, int]]]]) -> bool:
    return all(line["quantity"] > 0 for line in envelope["data"]["lines"])

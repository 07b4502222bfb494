"""Counts: the few numbers that are read every second, of one process or added up. It counts nothing."""

from collections.abc import Hashable, Iterable
from operator import add
from typing import Final, NamedTuple

from nsqkit.policy.breaker import BreakerState
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.telemetry.metrics.snapshot import Labels, Snapshot

_RECEIVED: Final = "nsqkit_messages_received_total"
_PROCESSED: Final = "nsqkit_messages_processed_total"
_REQUEUED: Final = "nsqkit_messages_requeued_total"
_PAUSED: Final = "nsqkit_intake_paused"
_SWITCH: Final = "nsqkit_kill_switch_state"
_AGES: Final = "nsqkit_message_age_seconds"
_WAITS: Final = "nsqkit_executor_wait_seconds"
_CPU: Final = "nsqkit_process_cpu_seconds_total"
_MEMORY: Final = "nsqkit_process_resident_memory_bytes"
_LAGS: Final = "nsqkit_event_loop_lag_seconds"
_BREAKERS: Final = "nsqkit_breaker_state"

COUNT_FAMILIES: Final = frozenset({_RECEIVED, _PROCESSED, _REQUEUED, _PAUSED, _SWITCH, _AGES, _WAITS})
"""What a snapshot must have for :func:`counts_of`."""
VITAL_FAMILIES: Final = frozenset({_CPU, _MEMORY, _LAGS, _BREAKERS})
"""What a snapshot must have for :func:`vitals_of`."""


class HandlerCounts(NamedTuple):
    """The counts of a handler; all but the last two are since the start.

    Args:
        labels: Topic, channel and name of the handler.
        received: Deliveries that arrived.
        errors: Requeues after an error.
        timeouts: Requeues after a timeout.
        requeued: All requeues in nsqd; it knows nothing of those that are rows of a database.
        dead_lettered: Deliveries with this outcome.
        ages: Deliveries in each of :data:`AGE_BUCKETS_S`, and one more above.
        waits: Calls in each of :data:`WAIT_BUCKETS_S` by their wait for a thread, and one more above.
        is_paused: Whether its intake is paused now, in any of the processes.
        is_switched_off: Whether its kill switch is open or half-open now, in any of the processes.
    """

    labels: Labels
    received: int
    errors: int
    timeouts: int
    requeued: int
    dead_lettered: int
    ages: tuple[int, ...]
    waits: tuple[int, ...]
    is_paused: bool
    is_switched_off: bool


class Vitals(NamedTuple):
    """The figures of one process.

    Args:
        process: Equal only for the same process.
        cpu_s: CPU time since its start, in seconds.
        memory_bytes: Its resident memory.
        lags: Samples of its event loop's lag in each of :data:`WAIT_BUCKETS_S`, and one more above.
        open_breakers: The dependencies whose breaker is open or half-open now.
    """

    process: Hashable
    cpu_s: float
    memory_bytes: float
    lags: tuple[int, ...]
    open_breakers: tuple[str, ...]


def counts_of(snapshot: Snapshot) -> tuple[HandlerCounts, ...]:
    """Return the counts of each handler in a snapshot, which may leave out other families."""
    requeued: dict[Labels, dict[str, int]] = {}
    for (*labels, reason), count in snapshot.of(_REQUEUED).items():
        requeued.setdefault(tuple(labels), {})[reason] = count
    processed, switches = snapshot.of(_PROCESSED), snapshot.of(_SWITCH)
    ages, waits, paused = (snapshot.of(family) for family in (_AGES, _WAITS, _PAUSED))
    return tuple(
        HandlerCounts(
            labels,
            received,
            requeued[labels]["error"],
            requeued[labels]["timeout"],
            sum(requeued[labels].values()) - requeued[labels].get("scheduled", 0),
            processed.get((*labels, "dead_letter"), 0),
            ages[labels].counts,
            waits[labels].counts,
            paused.get(labels, 0) > 0,
            any(
                switches.get((*labels, state), 0) for state in SwitchState if state is not SwitchState.CLOSED
            ),
        )
        for labels, received in snapshot.of(_RECEIVED).items()
        if labels in requeued and labels in ages and labels in waits  # the memory of the cells may be full
    )


def vitals_of(snapshot: Snapshot, process: Hashable) -> Vitals | None:
    """Return the figures of the process that made a snapshot; None if it has not shared them yet."""
    lags = snapshot.of(_LAGS).get(())
    if lags is None:
        return None
    cpu_s, memory_bytes = (snapshot.of(family).get((), 0.0) for family in (_CPU, _MEMORY))
    states = snapshot.of(_BREAKERS)
    is_open = {name for (name, state), number in states.items() if number and state != BreakerState.CLOSED}
    return Vitals(process, cpu_s, memory_bytes, lags.counts, tuple(sorted(is_open)))


def total_of(*parts: Iterable[HandlerCounts]) -> tuple[HandlerCounts, ...]:
    """Return the counts of several processes, added up by handler."""
    total: dict[Labels, HandlerCounts] = {}
    for counts in (each for part in parts for each in part):
        found = total.get(counts.labels)
        total[counts.labels] = counts if found is None else _sum(found, counts)
    return tuple(total.values())


def _sum(one: HandlerCounts, other: HandlerCounts) -> HandlerCounts:
    return HandlerCounts(
        one.labels,
        one.received + other.received,
        one.errors + other.errors,
        one.timeouts + other.timeouts,
        one.requeued + other.requeued,
        one.dead_lettered + other.dead_lettered,
        tuple(map(add, one.ages, other.ages)),
        tuple(map(add, one.waits, other.waits)),
        one.is_paused or other.is_paused,
        one.is_switched_off or other.is_switched_off,
    )

"""Failure log: the failures of all handlers of one worker. It knows no other worker."""

from typing import Final

from nsqkit.monitor.failures import Failures, Group
from nsqkit.monitor.look import Json, RecentErrors
from nsqkit.monitor.ring import SECONDS
from nsqkit.policy.verdict import Verdict
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.delivery import Delivery
from nsqkit.telemetry.metrics import Labels

MINUTE_S: Final = 60
FIVE_MINUTES_S: Final = 300


class FailureLog:
    """Counts failures and keeps examples of them, in a bounded amount of memory.

    Args:
        clock: Time. All processes of a machine have the same monotonic clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._handlers: dict[Labels, Failures] = {}

    def add(self, delivery: Delivery, verdict: Verdict | None, error: BaseException) -> None:
        """Count a failed delivery; arguments as of :meth:`Failures.add`."""
        spec = delivery.shared.spec
        labels = (spec.topic, spec.channel, spec.name)
        failures = self._handlers.get(labels)
        if failures is None:
            failures = self._handlers[labels] = Failures(self._clock.now_s)
        failures.add(delivery, verdict, error)

    def recent(self) -> dict[Labels, list[RecentErrors]]:
        """Return the errors of the last 5 minutes by the labels of the handlers that have some."""
        second = int(self._clock.now_s())
        found = {labels: _recent(failures, second) for labels, failures in self._handlers.items()}
        return {labels: errors for labels, errors in found.items() if errors}

    def errors(self, name: str) -> list[Json]:
        """Return the errors of a handler in 15 minutes with examples as JSON, the most frequent first.

        Args:
            name: The handler's name; one that is not known has no errors.
        """
        second = int(self._clock.now_s())
        zero_at_s = self._clock.now_ns() / 1e9 - second
        groups = (
            group
            for labels in self._handlers
            if labels[-1] == name
            for group in self._handlers[labels].groups
        )
        shown = [_shown(group, second, zero_at_s) for group in groups if group.count(second, SECONDS - 1)]
        return sorted(shown, key=lambda error: -error["count"])


def _recent(failures: Failures, second: int) -> list[RecentErrors]:
    found = (
        RecentErrors(
            each.error_type, each.place, each.count(second, MINUTE_S), each.count(second, FIVE_MINUTES_S)
        )
        for each in failures.groups
    )
    return sorted((each for each in found if each.m5), key=lambda each: -each.m5)


def _shown(group: Group, second: int, zero_at_s: float) -> Json:
    return {
        "type": group.error_type,
        "place": group.place,
        "count": group.count(second, SECONDS - 1),
        "count_m1": group.count(second, MINUTE_S),
        "first": group.first + zero_at_s,
        "last": group.last + zero_at_s,
        "examples": [
            {
                "at": each.second + zero_at_s,
                "message_id": each.message_id,
                "attempts": each.attempts,
                "max_attempts": each.max_attempts,
                "outcome": each.outcome,
                "text": each.text,
                "stack": each.stack,
            }
            for each in reversed(group.examples)
        ],
    }

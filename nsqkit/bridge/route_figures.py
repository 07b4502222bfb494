"""Route figures: the metrics of a route beside those that a handler has, and its last error."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from nsqkit.events import rfc3339
from nsqkit.policy.redaction import redact
from nsqkit.policy.route import PauseReason, RefusalReason
from nsqkit.telemetry.metrics import Figure, Metrics

Problems = Callable[[], tuple[str, ...]]
_REFUSED: Final = tuple(map(str, RefusalReason))


class RouteFigures:
    """The figures of one route.

    Args:
        route: Name of the route.
        problems: Returns why Kafka or RabbitMQ is away, one line each.
        metrics: Where they are shown.

    Attributes:
        lag: Records that wait at the broker; None if that is not known.
        last_error: The time and the text of the last error, redacted; empty if there was none.
        pauses: Why it reads nothing now.
        redelivered: Records that the broker has delivered again.
        skipped: Records that had been here before.
        refused: Records that NSQ cannot take, by reason.
    """

    def __init__(self, route: str, problems: Problems, metrics: Metrics) -> None:
        self.lag: int | None = None
        self.last_error = ""
        self.pauses: set[PauseReason] = set()
        self.redelivered = 0
        self.skipped = 0
        self.refused = dict.fromkeys(_REFUSED, 0)
        self._route = route
        self._problems = problems
        metrics.add_source(self._figures)

    def fail(self, problem: str) -> None:
        """Keep the last error, with its time."""
        at = rfc3339.from_ns(time.time_ns() // 10**9 * 10**9)
        self.last_error = f"{at}: {redact(problem)}"

    def _figures(self) -> Iterator[Figure]:
        route = self._route
        yield "nsqkit_route_disconnected", (route,), int(bool(self._problems()))
        if self.lag is not None:
            yield "nsqkit_route_lag", (route,), self.lag
        yield "nsqkit_route_redelivered_total", (route,), self.redelivered
        yield "nsqkit_route_skipped_total", (route,), self.skipped
        for reason in PauseReason:
            yield "nsqkit_route_paused", (route, reason), int(reason in self.pauses)
        for refusal, count in self.refused.items():
            yield "nsqkit_route_refused_total", (route, refusal), count

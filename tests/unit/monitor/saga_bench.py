"""Sagas without a database: a reader whose answers a test sets, and that counts how often it is asked."""

from collections.abc import Sequence
from typing import Any

from nsqkit import Settings
from nsqkit.errors import NsqkitError
from nsqkit.handler.group import HandlerGroup
from nsqkit.handler.sagas import Moment, SagaInstance, SagaOverview, SagaTimeline

START_S = 1_795_960_000.0
SECRET = "4111111111111111"
NEEDS = SagaInstance(
    "Ship", "o 1", 1, "needs_attention", "charge/undo", 5, f"card {SECRET}", START_S, START_S + 300, None
)
RUNS = SagaInstance("Ship", "o2", 2, "running", "reserve", 1, "", START_S, START_S + 200, START_S + 900)
MOMENTS = (
    Moment(START_S, "version 1 begun"),
    Moment(START_S, "charge started, attempt 1"),
    Moment(START_S + 1.5, f"charge failed for good: card {SECRET}"),
    Moment(START_S + 1.5, "compensating: charge failed"),
    Moment(START_S + 3, "charge/undo started, attempt 1"),
    Moment(START_S + 300, f"needs attention: card {SECRET}"),
)


class FakeReader:
    """A database with one saga, ``Ship``.

    Attributes:
        error: What every read raises; None for nothing.
        asked: How often it was read.
    """

    database = "orders"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0
        self.instances = [RUNS, NEEDS]
        self.counts = {"needs_attention": 1, "running": 10_000, "completed": 7}

    def overview(self, _sagas: Sequence[type[Any]], _settings: Settings) -> SagaOverview:
        self._ask()
        return SagaOverview({"Ship": dict(self.counts)}, 10_000, list(self.instances))

    def timeline(
        self, _sagas: Sequence[type[Any]], saga: str, key: str, _settings: Settings
    ) -> SagaTimeline | None:
        self._ask()
        found = next((each for each in self.instances if (each.saga, each.key) == (saga, key)), None)
        return None if found is None else SagaTimeline(found, f"Ship/{key}", MOMENTS)

    def _ask(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


class AwayError(NsqkitError):
    """The database is away."""


def group(reader: FakeReader) -> type[HandlerGroup]:
    """Return a group of handlers whose instances a reader reads."""
    return type("Ship", (HandlerGroup,), {"saga_reader": reader})

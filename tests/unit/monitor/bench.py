"""A worker of two handlers whose time a test sets, and its monitor."""

import json
from collections.abc import Sequence
from typing import Any

from nsqkit import Settings
from nsqkit.admin import HandlerState, IntakeState
from nsqkit.background import Background
from nsqkit.handler.group import HandlerGroup
from nsqkit.handler.spec import HandlerSpec
from nsqkit.monitor import FailureLog, Monitor, Sagas, WorkerSource
from nsqkit.policy.verdict import OutcomeLabel, RequeueReason, Verdict
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.delivery import Delivery
from nsqkit.telemetry.metrics import HandlerMetrics, Metrics
from tests.unit.runtime.bench import FakeMessage, RecordingLog, delivery

REQUEUE = Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, 0.2)
START_S = 10_000
AT_NS = 1_795_960_800_000_000_000  # 14:00:00 UTC
CHARGE = ("orders", "payments", "Charge")
NOTIFY = ("orders", "notify", "Notify")


class Shop:
    """Handlers ``Charge`` and ``Notify``, and their monitor; nothing happens before a test says so.

    Args:
        settings: Settings of the worker; None for any.
        groups: Groups of its handlers.
    """

    def __init__(self, settings: Settings | None = None, groups: Sequence[type[HandlerGroup]] = ()) -> None:
        settings = settings or Settings(service="shop")
        self.now_s = float(START_S)
        self.states = {
            labels: HandlerState(labels[2], *labels[:2], 3, 100, IntakeState.RUNNING)
            for labels in (CHARGE, NOTIFY)
        }
        self.metrics = Metrics()
        self.charge: HandlerMetrics = self.metrics.for_handler(*CHARGE)
        self.notify: HandlerMetrics = self.metrics.for_handler(*NOTIFY)
        clock = Clock(now_s=lambda: self.now_s, now_ns=lambda: AT_NS + int(self.now_s - START_S) * 10**9)
        self.failures = FailureLog(clock)
        self.background = Background(RecordingLog())
        self.sagas = Sagas(groups, settings, self.background, lambda: self.now_s)
        source = WorkerSource(self.handler_states, self.failures, self.sagas)
        self.monitor = Monitor(self.metrics, source, lambda: settings, clock)
        self.monitor.sample()

    def handler_states(self) -> tuple[HandlerState, ...]:
        return tuple(self.states.values())

    async def state(self) -> dict[str, Any]:
        """Return the first screen."""
        found: dict[str, Any] = json.loads(await self.monitor.text())
        return found

    def run(self, seconds: int, *, received: int = 10, failed: int = 0) -> None:
        """Let time pass: both handlers receive, and ``Charge`` fails, the same each second."""
        for _ in range(seconds):
            self.now_s += 1.0
            self.charge.received(received)
            self.notify.received(received)
            for _ in range(failed):
                self.fail()
            self.monitor.sample()

    def fail(self) -> None:
        self.charge.requeued("error")
        try:
            raise ConnectionRefusedError("no gateway")  # noqa: TRY301 - for its traceback
        except ConnectionRefusedError as error:
            self.failures.add(_of_charge(), REQUEUE, error)


def _of_charge() -> Delivery:
    found = delivery(FakeMessage())
    spec = _Spec()
    object.__setattr__(found.shared, "spec", spec)
    return found


class _Spec(HandlerSpec):
    topic, channel, name = CHARGE

    def __init__(self) -> None:
        """Leave out all other fields."""

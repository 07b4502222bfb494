"""Monitor: samples the metrics of a worker, and tells the page what it shows."""

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from nsqkit.admin import HandlerState
from nsqkit.background import Background
from nsqkit.monitor.failures import Failures
from nsqkit.monitor.history import History
from nsqkit.monitor.ring import STEP_S
from nsqkit.monitor.view import View, reason_of
from nsqkit.policy.beats import next_beat_s
from nsqkit.policy.verdict import Verdict
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.delivery import Delivery
from nsqkit.telemetry.metrics import Labels, Metrics

_WATCHED_S: Final = 60.0
"""Seconds after a look in which there is a sample each second."""


class Monitor:
    """The last 15 minutes of a worker, in a fixed amount of memory.

    While nobody looks, it costs one sample of counts in ten seconds, and one count for each failed delivery.

    Args:
        metrics: The metrics of the worker.
        states: Returns the present states of the handlers of the worker.
        service: Name of the service.
        clock: Time.
    """

    def __init__(
        self,
        metrics: Metrics,
        states: Callable[[], tuple[HandlerState, ...]],
        service: str,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or Clock()
        self._now_s = clock.now_s
        self._now_ns = clock.now_ns
        self._metrics = metrics
        self._states = states
        self._failures: dict[Labels, Failures] = {}
        self._history = History(metrics, lambda name: reason_of(states(), name))
        self._view = View(self._history, self._failures, service)
        self._sampled = asyncio.Event()
        self._looked = asyncio.Event()
        self._watched_until_s = -math.inf
        self._shown: tuple[int | None, str] = (None, "")
        self._is_stopped = False
        self._task: asyncio.Task[None] | None = None

    def start(self, background: Background) -> None:
        """Start to sample; a second call changes nothing."""
        if self._task is None:
            self.sample()
            self._task = background.start(self._run(), "monitor")

    def stop(self) -> None:
        """Stop sampling, and end the waits for a sample. Final; may be called twice, and before start."""
        self._is_stopped = True
        self._sampled.set()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def on_failure(self, delivery: Delivery, verdict: Verdict | None, error: BaseException) -> None:
        """Count a failed delivery; arguments as of :meth:`Failures.add`."""
        spec = delivery.shared.spec
        labels = (spec.topic, spec.channel, spec.name)
        failures = self._failures.get(labels)
        if failures is None:
            failures = self._failures[labels] = Failures(self._now_s)
        failures.add(delivery, verdict, error)

    def sample(self) -> None:
        """Take in the present counts, and wake whoever waits for them."""
        self._history.sample(int(self._now_s()))
        sampled, self._sampled = self._sampled, asyncio.Event()
        sampled.set()

    async def sampled(self) -> bool:
        """Wait for the next sample, and return whether there is one: False once it is stopped."""
        self._look()
        await self._sampled.wait()
        return not self._is_stopped

    def state(self) -> dict[str, Any]:
        """Return the first screen."""
        return self._view.state(self._states(), self._metrics.figures(), self._at_s())

    def state_text(self) -> str:
        """Return the first screen as JSON, made once a second however many pages are open."""
        second = self._history.second
        if self._shown[0] != second:
            self._shown = (second, json.dumps(self.state(), separators=(",", ":")))
        return self._shown[1]

    def errors(self, name: str) -> list[dict[str, Any]] | None:
        """Return the errors of a handler with examples, the most frequent first; None if it is not known."""
        return self._view.errors(name, self._at_s())

    def _look(self) -> None:
        """Take samples each second for a while, as somebody looks."""
        now_s = self._now_s()
        if now_s >= self._watched_until_s:
            self._looked.set()
        self._watched_until_s = now_s + _WATCHED_S

    def _at_s(self) -> float:
        return self._now_ns() / 1e9

    async def _run(self) -> None:
        while True:
            now_s = self._now_s()
            every_s = 1.0 if now_s < self._watched_until_s else STEP_S
            self._looked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(next_beat_s(now_s, every_s) - now_s):
                    await self._looked.wait()
            self.sample()

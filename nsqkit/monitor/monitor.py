"""Monitor: samples the metrics of a worker, or of several, and tells the page what it shows."""

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from nsqkit.background import Background
from nsqkit.monitor.channels import Channels
from nsqkit.monitor.history import History
from nsqkit.monitor.incident import MOST_HANDLERS_WITH_ERRORS, incident, worst_first
from nsqkit.monitor.incident_sagas import need_attention
from nsqkit.monitor.letters import Letters
from nsqkit.monitor.look import Json, Look, Source, by_labels
from nsqkit.monitor.marks import Mark, MarkKind
from nsqkit.monitor.ring import STEP_S
from nsqkit.monitor.view import View
from nsqkit.policy.beats import next_beat_s
from nsqkit.runtime.clock import Clock
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.metrics import Labels, Metrics

_WATCHED_S: Final = 60.0
"""Seconds after a look in which there is a sample each second."""


class Monitor:
    """The last 15 minutes of a worker, or of several, in a fixed amount of memory.

    While nobody looks, it costs one sample of counts in ten seconds.

    Args:
        metrics: The metrics of the workers.
        source: Their handlers and failures.
        settings: Returns the settings with the name of the service and the addresses of nsqd.
        clock: Time.

    Attributes:
        letters: The dead letters in the store.
    """

    def __init__(
        self,
        metrics: Metrics,
        source: Source,
        settings: Callable[[], Settings],
        clock: Clock | None = None,
    ) -> None:
        clock = clock or Clock()
        self._now_s = clock.now_s
        self._now_ns = clock.now_ns
        self._metrics = metrics
        self._source = source
        self._history = History(metrics, source.reason_of)
        self._channels = Channels(settings)
        self.letters = Letters(settings)
        self._view = View(self._history, self._channels, settings().service)
        self._sampled = asyncio.Event()
        self._looked = asyncio.Event()
        self._watched_until_s = -math.inf
        self._making = asyncio.Lock()
        self._shown: tuple[int | None, str] = (None, "")
        self._is_stopped = False
        self._background: Background | None = None
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    def start(self, background: Background) -> None:
        """Start to sample; a second call changes nothing."""
        if self._task is None:
            self.sample()
            self._background = background
            self._task = background.start(self._run(), "monitor")

    def stop(self) -> None:
        """Stop sampling, and end the waits for a sample. Final; may be called twice, and before start."""
        self._is_stopped = True
        self._sampled.set()
        if self._task is not None:
            self._task.cancel()
            self._task = None

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

    def mark(self, kind: MarkKind, text: str) -> None:
        """Keep a moment that may explain a change.

        Args:
            kind: What has happened.
            text: The event in words.
        """
        self._history.marks.add(Mark(int(self._now_s()), kind, text))

    async def text(self) -> str:
        """Return the first screen as JSON, made once a second however many pages are open."""
        async with self._making:
            second = self._history.second
            if self._shown[0] != second:
                look = await self._source.look()
                self._read_channels(look)
                text = await self._view.text(look, self._metrics.figures(), self._now_ns() / 1e9)
                self._shown = (second, text)
            return self._shown[1]

    async def errors(self, name: str) -> list[Json] | None:
        """Return the errors of a handler with examples, the most frequent first; None if it is not known."""
        return None if self.labels_of(name) is None else await self._source.errors(name)

    def durations(self, labels: Labels) -> Json | None:
        """Return how long a handler ran since the start, as estimated percentiles; None while nothing ran.

        Args:
            labels: Topic, channel and name of the handler.
        """
        found = self._metrics.durations(labels)
        if found is None or found.quantile(0.5) is None:
            return None
        return {"p50_s": found.quantile(0.5), "p95_s": found.quantile(0.95), "p99_s": found.quantile(0.99)}

    def labels_of(self, name: str) -> Labels | None:
        """Return topic, channel and name of a handler; None if it is not known."""
        return next((labels for labels in self._history.tracks if labels[-1] == name), None)

    async def timeline(self, saga: str, key: str) -> Json | None:
        """Return the timeline of an instance of a saga, or why it cannot be read; None if there is none.

        Args:
            saga: Name of the saga.
            key: Key of the instance.
        """
        found = await self._source.timeline(saga, key)
        return None if found is None else {**found, "at": round(self._now_ns() / 1e9, 1)}

    async def incident(self, style: str) -> str:
        """Return the first screen, the errors of the worst handlers, and some timelines, as one HTML file.

        Args:
            style: The style sheet of the page.
        """
        state = json.loads(await self.text())
        names = [row["name"] for row in worst_first(state["handlers"])[:MOST_HANDLERS_WITH_ERRORS]]
        found = {name: await self._source.errors(name) for name in names}
        timelines = [await self._source.timeline(*each) for each in need_attention(state["sagas"])]
        known = [each for each in timelines if each is not None and not each["problem"]]
        return await incident(state, {name: errors for name, errors in found.items() if errors}, known, style)

    def _read_channels(self, look: Look) -> None:
        """Ask nsqd in the background, if it is time for that; this event shows what was read before."""
        is_read = self._reading is None or self._reading.done()
        if self._background is None or self._is_stopped or not is_read:
            return
        if self._channels.take_turn(int(self._now_s())):
            handlers = list(by_labels(look.states))
            work = self._channels.read(handlers, max(1, len(look.workers)), self._now_s)
            self._reading = self._background.start(work, "nsqd's channels for the monitor page")

    def _look(self) -> None:
        """Take samples each second for a while, as somebody looks."""
        now_s = self._now_s()
        if now_s >= self._watched_until_s:
            self._looked.set()
        self._watched_until_s = now_s + _WATCHED_S

    async def _run(self) -> None:
        while True:
            now_s = self._now_s()
            every_s = 1.0 if now_s < self._watched_until_s else STEP_S
            self._looked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(next_beat_s(now_s, every_s) - now_s):
                    await self._looked.wait()
            self.sample()

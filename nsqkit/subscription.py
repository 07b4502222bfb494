"""Subscription: one handler running, from its connections to its outcomes; may be paused and blocked."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nsqkit.codec import Decoder
from nsqkit.context import Middleware, Prepare
from nsqkit.handler import Handler, HandlerSpec
from nsqkit.loader import in_flight, keeps_dead_letters
from nsqkit.metrics import Metrics
from nsqkit.policy.names import retry_topic
from nsqkit.policy.verdict import Rules
from nsqkit.publisher import connection_options
from nsqkit.runtime.consume import Intake
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.drain import Source
from nsqkit.runtime.settle import OnSettled, Publishes, Settler, tell_nobody
from nsqkit.settings import Settings
from nsqkit.version import __version__

LEASE_SLACK_S = 5.0
"""A message is leased for so much longer than its handler may take."""


class Consumes(Source, Protocol):
    """What a subscription needs of its consumer; ``nsqkit.nsq.Consumer`` is the one for nsqd."""

    @property
    def ready(self) -> bool: ...  # noqa: D102
    @property
    def problems(self) -> tuple[str, ...]: ...  # noqa: D102
    def start(self) -> None: ...  # noqa: D102
    async def wait_ready(self) -> None: ...  # noqa: D102
    def subscribed_to(self, address: str) -> bool: ...  # noqa: D102
    def poll_now(self) -> None: ...  # noqa: D102
    def pause(self) -> None: ...  # noqa: D102
    def resume(self) -> None: ...  # noqa: D102


class Subscription:
    """One handler instance with everything around it.

    Args:
        handler: The instance, its resources given.
        settings: The settings.
        metrics: Where it is counted.
        outlet: Where its dead letters and events go.
        make_consumer: Makes its consumer, of ``topics``, ``channel``, ``options``, ``max_in_flight``,
            ``on_message``, ``on_settle_failure`` and ``log``.
        middleware: The outermost first.
        prepare: Encodes what it publishes.
        max_msg_bytes: nsqd's max-msg-size.
        log: A structlog logger.
        on_settled: Told how each delivery ended.
        draw: A uniform number in [0, 1).
        now_s: The loop's clock, by which messages say when they arrived.
        now_ns: The wall clock.
    """

    def __init__(
        self,
        handler: Handler[Any],
        *,
        settings: Settings,
        metrics: Metrics,
        outlet: Publishes,
        make_consumer: Callable[..., Consumes],
        middleware: Sequence[Middleware],
        prepare: Prepare,
        max_msg_bytes: int,
        log: Any,
        on_settled: OnSettled = tell_nobody,
        draw: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        spec = self.spec = handler.spec
        slots = in_flight(spec, settings)
        meter = metrics.for_handler(spec.topic, spec.channel, spec.name, declared=spec.declared_errors)
        meter.max_in_flight(slots)
        rules = Rules(
            retry=spec.retry,
            on_unknown=spec.on_unknown or "requeue",
            max_age_s=spec.max_age_s,
            on_expired=spec.on_expired,
            keeps_dead_letters=keeps_dead_letters(spec),
            max_delay_s=settings.max_requeue_delay_s,
        )
        settler = Settler(
            spec,
            rules,
            meter=meter,
            log=log,
            publishes=outlet,
            pause=self.pause,
            block=self.block,
            max_msg_bytes=max_msg_bytes,
            version=__version__,
            log_success=settings.log_success,
            log_stacks=settings.log_level == "debug",
            on_settled=on_settled,
            draw=draw,
            now_s=now_s,
        )
        self.dispatcher = Dispatcher(
            handler,
            middleware=middleware,
            threads=slots,
            executor_wait=meter.executor_wait,
        )
        self.intake = Intake(
            spec,
            rules,
            slots=slots,
            decoder=Decoder(spec.topic, spec.event_types),
            dispatcher=self.dispatcher,
            settler=settler,
            meter=meter,
            log=log,
            prepare=prepare,
            draw=draw,
            now_s=now_s,
            now_ns=now_ns,
        )
        self.topics = subscribed_topics(spec.topic, spec.channel, with_retry=rules.keeps_dead_letters)
        self.consumer = make_consumer(
            topics=self.topics,
            channel=spec.channel,
            options=connection_options(settings, msg_timeout_s=lease_s(spec, settings)),
            max_in_flight=slots,
            on_message=self.intake.receive,
            on_settle_failure=meter.settle_failure,
            log=log.bind(topic=spec.topic, channel=spec.channel, handler=spec.name),
        )
        self._log = log
        self._blocked = ""
        self._resume: asyncio.TimerHandle | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether its intake has stopped until the process is started again."""
        return bool(self._blocked)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it is not ready; empty if it is."""
        if self._blocked:
            return (self._blocked,)
        if self.consumer.ready:
            return ()
        name = f"{self.spec.name} ({self.spec.topic}/{self.spec.channel})"
        return tuple(f"{name}: {problem}" for problem in self.consumer.problems or ("not connected yet",))

    @property
    def is_resting(self) -> bool:
        """Whether its intake is paused, and will go on by itself."""
        return self._resume is not None and not self._blocked

    def pause(self, for_s: float) -> None:
        """Rest the intake for some seconds; of several pauses the one that ends last counts."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + for_s
        if self._blocked or (self._resume is not None and self._resume.when() >= until_s):
            return
        if self._resume is not None:
            self._resume.cancel()
        self._log.warning("intake_paused", handler=self.spec.name, for_s=round(for_s, 3))
        self.consumer.pause()
        self.intake.rest(until_s)
        self._resume = loop.call_at(until_s, self._resumed)

    def block(self, why: str) -> None:
        """Stop the intake until the process is started again; shown as not ready."""
        if not self._blocked:
            self._blocked = why
            self._log.error("intake_blocked", handler=self.spec.name, reason=why)
            self.consumer.pause()
            if self._resume is not None:
                self._resume.cancel()

    def close(self) -> None:
        """Stop timers and threads; comes after the drain."""
        if self._resume is not None:
            self._resume.cancel()
        self.dispatcher.close()

    def _resumed(self) -> None:
        self._resume = None
        self._log.info("intake_resumed", handler=self.spec.name)
        self.consumer.resume()


def lease_s(spec: HandlerSpec, settings: Settings) -> float:
    """Return for how long nsqd is asked to leave a message with a handler, in seconds."""
    return max(settings.msg_timeout_s, spec.timeout_s + LEASE_SLACK_S)


def subscribed_topics(topic: str, channel: str, *, with_retry: bool) -> tuple[str, ...]:
    """Return the topics that a handler's channel is on: the source, and its own ``.retry``."""
    return (topic, retry_topic(topic, channel)) if with_retry else (topic,)

"""Spec: a handler class as declared, with the defaults of its class keywords; it holds no message."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nsqkit.events.types import REGISTRY, EventType
from nsqkit.handler.extension import Layer
from nsqkit.handler.options import TIMEOUT_S
from nsqkit.handler.resources import Resource
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import is_ephemeral, subscribed_topics
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

if TYPE_CHECKING:
    from nsqkit.handler.handler import AnyHandler

RATE_WAIT_S = 30.0
"""No more is in flight than a rate limit lets start in this time: half of the default lease."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler class as declared and checked; times in seconds.

    The fields with a default are class keywords, described in ``options.py``. A handler of single messages
    has no max_messages.

    Args:
        handler: The class.
        topic: The source topic.
        channel: The channel.
        event_types: What it takes, one or more.
        is_async: Whether ``handle`` is a coroutine function.
        location: ``file:line`` of the class.
    """

    handler: "type[AnyHandler[Any]]"
    topic: str
    channel: str
    event_types: tuple[EventType, ...]
    is_async: bool
    location: str
    max_in_flight: int = 100
    timeout_s: float = TIMEOUT_S
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    threads: int | None = None
    run_on_loop: bool = False
    max_age_s: float | None = None
    on_expired: OnExpired = "dead_letter"
    on_unknown: OnUnknown | None = None
    dead_letters: bool | None = None
    errors: tuple[type[Exception], ...] = ()
    kill_switch: KillSwitch | None = None
    rate_limit: RateLimit | None = None
    middleware: tuple[Layer, ...] = ()
    uses: tuple[Resource[Any], ...] = ()
    max_messages: int | None = None
    max_wait_s: float = 0.0

    @property
    def name(self) -> str:
        """The class name, which labels metrics and logs."""
        return self.handler.__name__

    @property
    def holds_s(self) -> float:
        """For how long a message may have to be held while it is handled, in seconds."""
        return self.max_wait_s + self.timeout_s

    @property
    def most_calls(self) -> int:
        """How many calls may run at the same time, as far as max_in_flight goes; 1 or more."""
        return self.max_in_flight // (self.max_messages or 1)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics on which its channel is: its own, and a ``.retry`` topic where dead letters are kept."""
        return subscribed_topics(self.topic, self.channel, with_retry=self.keeps_dead_letters)

    @property
    def keeps_dead_letters(self) -> bool:
        """Whether dead letters are published; not by default where the topic or the channel is ephemeral."""
        if self.dead_letters is None:
            return not (is_ephemeral(self.topic) or is_ephemeral(self.channel))
        return self.dead_letters

    def slots(self, threads: int) -> int:
        """Return how many messages it has in flight at most in one worker; 1 to max_in_flight.

        Threads that run one message each are a bound, and so is a rate limit: another worker can start
        sooner what would wait here for long.

        Args:
            threads: The setting ``threads``, for a plain handler that declares none; 1 or more.
        """
        if self.max_messages is not None:
            return self.max_in_flight
        bounds = [self.max_in_flight]
        if not (self.is_async or self.run_on_loop):
            bounds.append(self.threads or threads)
        if self.rate_limit is not None:
            bounds.append(max(1, self.rate_limit.burst + int(self.rate_limit.per_s * RATE_WAIT_S)))
        return min(bounds)

    @property
    def declared_errors(self) -> frozenset[str]:
        """Names of the error types that have a metric label of their own."""
        return frozenset(error.__name__ for error in (*self.errors, *self.retry.on))


def spec_of(
    handler: "type[AnyHandler[Any]]", models: tuple[Any, ...], options: Mapping[str, Any], location: str
) -> HandlerSpec:
    """Return the spec of a class without mistakes.

    Args:
        handler: The class.
        models: Its event classes, one or more.
        options: Its class keywords, inherited ones included.
        location: ``file:line`` of the class.
    """
    event_types = tuple(REGISTRY.of(model) for model in models)
    defaults: dict[str, Any] = {"topic": event_types[0].topic}
    if "max_messages" in options:
        defaults["max_in_flight"] = options["max_messages"]
    return HandlerSpec(
        handler=handler,
        event_types=event_types,
        is_async=inspect.iscoroutinefunction(handler.handle),
        location=location,
        **{**defaults, **options},
    )

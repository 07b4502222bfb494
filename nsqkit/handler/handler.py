"""Handlers: the class that a team derives from, and what is kept of its declaration."""

import inspect
import sys
import types
import typing
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Never, TypeVar, get_args

from nsqkit.errors import HandlerError
from nsqkit.events.types import REGISTRY, EventType
from nsqkit.handler.context import Context
from nsqkit.handler.declaration import TIMEOUT_S, Declaration, misspelt
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import is_ephemeral, subscribed_topics
from nsqkit.policy.outcome import Outcome
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

E = TypeVar("E")

RATE_WAIT_S = 30.0
"""No more is in flight than a rate limit lets start in this time: half of the default lease."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler class as declared and checked; times in seconds.

    Args:
        handler: The class.
        topic: The source topic.
        channel: The channel.
        event_types: What it takes, one or more.
        is_async: Whether ``handle`` is a coroutine function.
        location: ``file:line`` of the class.
        max_messages: Most messages of one call; None for a handler of single messages.
        max_wait_s: For how long a batch gathers.
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


deferring: ContextVar[bool] = ContextVar("deferring", default=False)
"""Set by the loader, which then reports the mistakes of all classes together."""


class AnyHandler(Generic[E]):
    """What a handler class keeps of its declaration, whatever its ``handle`` takes."""

    spec: ClassVar[HandlerSpec]
    problems: ClassVar[tuple[str, ...]] = ()
    _options: ClassVar[Mapping[str, Any]] = {}
    _models: ClassVar[tuple[Any, ...]] = ()

    @classmethod
    def _declare(
        cls,
        kind: "type[AnyHandler[Any]]",
        given: Mapping[str, object],
        unknown: Mapping[str, object],
        *,
        takes: str,
        abstract: bool,
    ) -> None:
        """Keep what a class statement says.

        Args:
            kind: The public class that it derives from.
            given: Every class keyword that there is; None where it is not given.
            unknown: The others.
            takes: Names of what ``handle`` takes.
            abstract: Whether it only shares its options.
        """
        cls._options = {**cls._options, **{name: value for name, value in given.items() if value is not None}}
        cls._models = _event_models(cls) or cls._models
        location = _location(cls)
        found = [misspelt(name, (*given, "abstract")) for name in unknown]
        if not abstract:
            handle = None if cls.handle is kind.handle else cls.handle
            declared = Declaration(cls._models, cls._options, handle, kind=kind.__name__, takes=takes)
            found += declared.problems()
        cls.problems = tuple(f"{location}: {cls.__name__}: {problem}" for problem in found)
        if cls.problems and not deferring.get():
            raise HandlerError(cls.problems)
        if not (cls.problems or abstract):
            cls.spec = _spec(cls, location)

    def handle(self, *args: Any, **kwargs: Any) -> Any:
        """Handle what its kind says."""
        raise NotImplementedError


class Handler(AnyHandler[E]):
    """Handles the events of one topic on one channel.

    Derive from it with the event type, or a union of them, and give the options as class keywords::

        class Notify(Handler[OrderCreated], channel="notify"):
            async def handle(self, event: OrderCreated, ctx: Context) -> None: ...

    Parameters of ``__init__`` are resources, found by their type.

    Args:
        topic: The topic; by default the one of the events.
        channel: The channel. Required.
        max_in_flight: Messages handled at the same time; 1 to 2500, 100 by default.
        timeout_s: Seconds after which a call counts as failed; above 0, at most 880, 30 by default.
        retry: Attempts, backoff, and what certain errors mean.
        threads: Threads for a plain ``def handle``, which then bound max_in_flight; 1 to 256,
            by default the setting ``threads``.
        run_on_loop: True calls a plain ``def handle`` on the event loop, without a timeout; it
            must not block.
        max_age_s: Messages published longer ago are not handled; seconds above 0.
        on_expired: What becomes of those: ``"dead_letter"`` (default) or ``"discard"``.
        on_unknown: What becomes of event types not taken here: ``"requeue"``, ``"discard"`` or
            ``"dead_letter"``; must be chosen where the topic has other known types.
        dead_letters: False discards instead of dead-lettering, which is the default on ephemeral
            topics and channels.
        errors: Exception types that get a metric label of their own; those in ``retry`` have one.
        kill_switch: When the intake stops because too many calls fail; never by default.
        rate_limit: How many messages one worker starts per second; without a limit by default.
        abstract: True for a class that only shares options with those derived from it.

    Raises:
        HandlerError: When the class is made and something about it is wrong; all its mistakes.
    """

    def __init_subclass__(
        cls,
        *,
        topic: str | None = None,
        channel: str | None = None,
        max_in_flight: int | None = None,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
        threads: int | None = None,
        run_on_loop: bool | None = None,
        max_age_s: float | None = None,
        on_expired: OnExpired | None = None,
        on_unknown: OnUnknown | None = None,
        dead_letters: bool | None = None,
        errors: tuple[type[Exception], ...] | None = None,
        kill_switch: KillSwitch | None = None,
        rate_limit: RateLimit | None = None,
        abstract: bool = False,
        **unknown: Never,
    ) -> None:
        super().__init_subclass__()
        given = {
            "topic": topic,
            "channel": channel,
            "max_in_flight": max_in_flight,
            "timeout_s": timeout_s,
            "retry": retry,
            "threads": threads,
            "run_on_loop": run_on_loop,
            "max_age_s": max_age_s,
            "on_expired": on_expired,
            "on_unknown": on_unknown,
            "dead_letters": dead_letters,
            "errors": errors,
            "kill_switch": kill_switch,
            "rate_limit": rate_limit,
        }
        cls._declare(Handler, given, unknown, takes="event, ctx", abstract=abstract)

    def handle(self, event: E, ctx: Context, /) -> Awaitable[Outcome | None] | Outcome | None:
        """Handle one event; ``async def`` runs on the loop, plain ``def`` in a thread.

        Args:
            event: The decoded event.
            ctx: What else is known of the message.

        Returns:
            None or ``Finish()`` when it is done, or another outcome. Raise for a failure.
        """
        raise NotImplementedError


def _spec(cls: type[AnyHandler[Any]], location: str) -> HandlerSpec:
    event_types = tuple(REGISTRY.of(model) for model in cls._models)
    options = dict(cls._options)
    options.setdefault("topic", event_types[0].topic)
    if "max_messages" in options:
        options.setdefault("max_in_flight", options["max_messages"])
    return HandlerSpec(
        handler=cls,
        event_types=event_types,
        is_async=inspect.iscoroutinefunction(cls.handle),
        location=location,
        **options,
    )


def _event_models(cls: type) -> tuple[Any, ...]:
    """Return what stands in the brackets after ``Handler``; empty where nothing or a type variable does."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        origin = typing.get_origin(base)
        if isinstance(origin, type) and issubclass(origin, AnyHandler):
            (argument, *_) = get_args(base)
            if isinstance(argument, TypeVar):
                return ()
            if typing.get_origin(argument) in {types.UnionType, typing.Union}:
                return get_args(argument)
            return (argument,)
    return ()


def _location(cls: type) -> str:
    """Return ``file:line`` of the class statement that is being run."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to name the line of a class being made
    while frame.f_back is not None and frame.f_globals.get("__name__") != cls.__module__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

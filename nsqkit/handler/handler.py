"""Handlers: the class that a team derives from, and what is kept of its declaration."""

import inspect
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from nsqkit.errors import HandlerError
from nsqkit.events.types import REGISTRY, EventType
from nsqkit.handler.context import Context
from nsqkit.handler.declaration import Declaration, events_of, location_of, misspelt
from nsqkit.handler.options import TIMEOUT_S, HandlerOptions
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
    _known_options: ClassVar[frozenset[str]] = frozenset()
    _takes: ClassVar[str] = ""
    _options: ClassVar[Mapping[str, Any]] = {}
    _models: ClassVar[tuple[Any, ...]] = ()

    @classmethod
    def _declare(cls, kind: "type[AnyHandler[Any]]", given: Mapping[str, object], *, abstract: bool) -> None:
        """Keep what a class statement says, or refuse it with all of its mistakes.

        Args:
            kind: The public class that it derives from.
            given: Its class keywords but ``abstract``, those that do not exist included.
            abstract: Whether it only shares its options.

        Raises:
            HandlerError: If something is wrong, and no loader gathers the mistakes.
        """
        location = location_of(cls.__module__)
        unknown = [name for name in given if name not in cls._known_options]
        own = {name: value for name, value in given.items() if value is not None and name not in unknown}
        cls._options = {**cls._options, **own}
        cls._models = events_of(cls, AnyHandler) or cls._models
        found = [misspelt(name, {*cls._known_options, "abstract"}) for name in unknown]
        if not abstract:
            handle = None if cls.handle is kind.handle else cls.handle
            declared = Declaration(cls._models, cls._options, handle, kind=kind.__name__, takes=cls._takes)
            found += declared.problems()
        cls.problems = tuple(f"{location}: {cls.__name__}: {problem}" for problem in found)
        if cls.problems and not deferring.get():
            raise HandlerError(cls.problems)
        if not (cls.problems or abstract):
            cls.spec = spec_of(cls, cls._models, cls._options, location)

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
        abstract: True for a class that only shares options with those derived from it.
        options: The class keywords, such as ``channel``, ``timeout_s`` and ``retry``:
            ``help(nsqkit.handler.options.HandlerOptions)`` describes each of them.

    Raises:
        HandlerError: When the class is made and something about it is wrong; all its mistakes.
    """

    _known_options = HandlerOptions.__optional_keys__
    _takes = "event, ctx"

    def __init_subclass__(cls, *, abstract: bool = False, **options: Unpack[HandlerOptions]) -> None:
        super().__init_subclass__()
        cls._declare(Handler, options, abstract=abstract)

    def handle(self, event: E, ctx: Context, /) -> Awaitable[Outcome | None] | Outcome | None:
        """Handle one event; ``async def`` runs on the loop, plain ``def`` in a thread.

        Args:
            event: The decoded event.
            ctx: What else is known of the message.

        Returns:
            None or ``Finish()`` when it is done, or another outcome. Raise for a failure.
        """
        raise NotImplementedError


def spec_of(
    handler: type[AnyHandler[Any]], models: tuple[Any, ...], options: Mapping[str, Any], location: str
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

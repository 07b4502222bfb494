"""Extension: hooks around handlers' calls, publishes and outcomes, such as for tracing or an inbox."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nsqkit.handler.context import Context
from nsqkit.handler.resources import Resource
from nsqkit.policy.outcome import Duplicate, Outcome
from nsqkit.policy.verdict import Verdict

if TYPE_CHECKING:
    from nsqkit.handler.batch import Delivery
    from nsqkit.handler.outgoing import OnPublish, Publish

Next = Callable[[Any, Context], Awaitable[Outcome | None]]
"""The rest of the call. Return its value unchanged: it may be the ``Duplicate`` of an inner extension."""


NextBatch = Callable[["Sequence[Delivery[Any]]"], Awaitable[Any]]
"""The rest of the call of a batch handler. Return its value unchanged."""
BatchMiddleware = Callable[["Sequence[Delivery[Any]]", NextBatch], Awaitable[Any]]


class Middleware(Protocol):
    """A function, or an object with ``__call__``, around every handler call: an extension with one hook.

    It may observe, replace or skip the call. It must return the value of the call or its own outcome. It
    runs on the event loop, before the verdict; ``timeout_s`` limits the handler, not the middleware.
    """

    async def __call__(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        """Await ``call_next(event, ctx)`` and return its value, or return another outcome."""


class Extension:
    """Hooks around handlers: derive from it and override the hooks that you need.

    Pass it to a ``Worker`` or a ``Publisher``, or to a handler as the class keyword ``middleware=[…]``. The
    worker's extensions are outermost, then those of an ``abstract=True`` base, then the handler's. If you
    pass a class, the worker creates one instance; the parameters of its ``__init__`` are resources.

    The worker looks for overridden hooks once, at its start. It never calls the others.

    Attributes:
        uses: Per-message resources that the extension reads with ``ctx.resource``; they are opened for
            every message of its handlers.
    """

    uses: Sequence[Resource[Any]] = ()

    @property
    def is_on(self) -> bool:
        """False to call no hook at all. Read once, when a worker starts or a publisher is created."""
        return True

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        """Await ``call_next(event, ctx)`` and return its value, or return an outcome instead of the handler.

        It runs on the event loop, in the task of the message. The handler sees context variables that the
        hook sets, also in a thread. A batch call sees those of its first message.

        Args:
            event: The decoded event.
            ctx: Context of the message; ``ctx.envelope`` has source, id and trace context.
            call_next: The rest of the extensions, then the handler.

        Returns:
            The value of *call_next*, another outcome, or ``Duplicate()`` if the message was handled before.
        """
        return await call_next(event, ctx)

    def on_publish(self, publish: "Publish") -> bool | None:
        """Inspect or extend a message before its event is encoded and published.

        Args:
            publish: The message. Add envelope attributes to its ``attributes``, and to ``when_done``
                functions to call when nsqd has confirmed it or it has failed.

        Returns:
            False to keep the message unpublished, as an outbox does that stores it; anything else to
            publish it.

        Raises:
            Exception: To refuse the message; the handler's ``ctx.publish`` raises it.
        """

    async def around_batch(self, batch: "Sequence[Delivery[Any]]", call_next: NextBatch) -> Any:
        """Await ``call_next(batch)`` and return its value; an error of the hook fails the batch.

        An extension that overrides it is around the calls of a ``BatchHandler`` instead of around each of
        their messages: its ``around_handle`` is not called there. A failed batch is handled again one by one,
        each message in its own call.

        Args:
            batch: The deliveries of one call, in order of arrival; 1 or more.
            call_next: The rest of the extensions, then the handler.

        Returns:
            The value of *call_next*.
        """
        return await call_next(batch)

    def on_settled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        """Receive the outcome of a delivery, after FIN or REQ is sent.

        An error of the hook is logged and has no effect on the message.

        Args:
            ctx: Context of the message, also if its handler was not called.
            verdict: Label, reason, delay and detail of the outcome.
            error: The exception that caused the outcome; None if none did.
        """

    def on_unhandled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        """Receive the outcome of a message whose handler was not called, such as an undecodable one.

        Arguments and errors as in ``on_settled``, which is called for the message, too.
        """

    async def close(self) -> None:
        """Release what the extension holds. A worker awaits it once, after the last outcome.

        The resources that it uses are still open. An error of the hook is raised when all are closed.
        """


OnSettled = Callable[[Context, Verdict, BaseException | None], None]
Layer = Extension | type[Extension] | Middleware
"""Accepted as middleware."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The overridden hooks of some extensions, outermost first.

    Args:
        around_handle: Hooks around every call of the handler.
        around_batch: Hooks around every call of a batch handler.
        on_publish: Hooks before every publish.
        on_settled: Hooks after every outcome.
        on_unhandled: Hooks after the outcome of a message whose handler was not called.
        close: Hooks after the end of the worker.
    """

    around_handle: tuple[Middleware, ...] = ()
    around_batch: tuple[BatchMiddleware, ...] = ()
    on_publish: "tuple[OnPublish, ...]" = ()
    on_settled: tuple[OnSettled, ...] = ()
    on_unhandled: tuple[OnSettled, ...] = ()
    close: tuple[Callable[[], Awaitable[None]], ...] = ()

    @classmethod
    def of(cls, layers: Sequence[Extension | Middleware], *, is_batch: bool = False) -> "Hooks":
        """Return the hooks of plain middleware and of the extensions that are switched on.

        Args:
            layers: Extensions and middleware, outermost first.
            is_batch: Whether they are around a ``BatchHandler``.
        """
        used = [layer for layer in layers if not isinstance(layer, Extension) or layer.is_on]
        extensions = [layer for layer in used if isinstance(layer, Extension)]
        return cls(
            tuple(filter(None, (_around_handle(layer, is_batch=is_batch) for layer in used))),
            tuple(each.around_batch for each in extensions if is_batch and _overrides(each, "around_batch")),
            tuple(each.on_publish for each in extensions if _overrides(each, "on_publish")),
            tuple(each.on_settled for each in extensions if _overrides(each, "on_settled")),
            tuple(each.on_unhandled for each in extensions if _overrides(each, "on_unhandled")),
            tuple(each.close for each in extensions if _overrides(each, "close")),
        )


def _around_handle(layer: Extension | Middleware, *, is_batch: bool) -> Middleware | None:
    """Return the hook of a layer around each message; None if it has none, or one around whole batches."""
    if not isinstance(layer, Extension):
        return layer
    has_hook = _overrides(layer, "around_handle") and not (is_batch and _overrides(layer, "around_batch"))
    return layer.around_handle if has_hook else None


def _overrides(extension: Extension, hook: str) -> bool:
    return getattr(type(extension), hook) is not getattr(Extension, hook) or hook in vars(extension)

"""Extension: one concern around handlers' calls, publishes and outcomes, such as spans or an inbox."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nsqkit.handler.context import Context
from nsqkit.handler.resources import Resource
from nsqkit.policy.outcome import Duplicate, Outcome
from nsqkit.policy.verdict import Verdict

if TYPE_CHECKING:
    from nsqkit.handler.outgoing import OnPublish, Publish

Next = Callable[[Any, Context], Awaitable[Outcome | None]]
"""The rest of the call. Pass on what it returns: it may be the ``Duplicate`` of an extension inside."""


class Middleware(Protocol):
    """A function, or an object with ``__call__``, around every handler call: an extension of one hook.

    It may look at, replace or refuse the call, and must return what the call returned or an outcome
    of its own. It runs on the event loop, before the verdict; ``timeout_s`` bounds the handler, not it.
    """

    async def __call__(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        """Handle one call by awaiting ``call_next(event, ctx)``, or by not doing so."""


class Extension:
    """One concern around handlers: derive from it and override the hooks that you need.

    Give it to a ``Worker``, a ``Publisher``, or a handler as the class keyword ``middleware=[…]``. The
    worker's are the outermost, then those of an ``abstract=True`` base, then the class's own. The worker
    makes an instance of a class: the parameters of its ``__init__`` are resources, as a handler's are.

    Which hooks there are is decided when the worker starts: a hook that is not overridden is never called.

    Attributes:
        uses: Per-message resources that it reads with ``ctx.resource``; opened for every message of its
            handlers.
    """

    uses: ClassVar[Sequence[Resource[Any]]] = ()

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        """Handle one call by awaiting ``call_next(event, ctx)``, or answer instead of the handler.

        It runs on the event loop, in the task of the message. The handler sees what it sets in context
        variables, in a thread too; the call of a batch sees what was set for its first message.

        Args:
            event: The decoded event.
            ctx: The handler's; ``ctx.envelope`` has source, id and trace context.
            call_next: The rest of the extensions, then the handler.

        Returns:
            What *call_next* returned, another outcome, or ``Duplicate()`` if the message was handled before.
        """
        return await call_next(event, ctx)

    def on_publish(self, publish: "Publish") -> bool | None:
        """See a message that is about to be published, before its event is encoded.

        Args:
            publish: Add to its ``attributes`` what the envelope should carry, and to ``when_done`` what to
                call when nsqd has confirmed it or it has failed.

        Returns:
            False to keep it: it is not published, as by an outbox that stores it. Anything else lets it go.

        Raises:
            Exception: To refuse it; the handler's ``ctx.publish`` raises it.
        """

    def on_settled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        """Learn the outcome of a delivery; FIN or REQ has been sent.

        An error that it raises is logged, and changes nothing.

        Args:
            ctx: The handler's, also of a delivery whose handler was not called.
            verdict: Its label, reason, delay and detail.
            error: The exception behind it, if there was one.
        """


OnSettled = Callable[[Context, Verdict, BaseException | None], None]
Layer = Extension | type[Extension] | Middleware
"""What may be given as middleware."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of some extensions that are overridden, the outermost first.

    Args:
        around_handle: Around every call of the handler.
        on_publish: Before every message that leaves.
        on_settled: After every outcome.
    """

    around_handle: tuple[Middleware, ...] = ()
    on_publish: "tuple[OnPublish, ...]" = ()
    on_settled: tuple[OnSettled, ...] = ()

    @classmethod
    def of(cls, layers: Sequence[Extension | Middleware]) -> "Hooks":
        """Return the hooks of extensions and of plain middleware."""
        extensions = [layer for layer in layers if isinstance(layer, Extension)]
        return cls(
            tuple(
                layer.around_handle if isinstance(layer, Extension) else layer
                for layer in layers
                if not isinstance(layer, Extension) or _overrides(layer, "around_handle")
            ),
            tuple(each.on_publish for each in extensions if _overrides(each, "on_publish")),
            tuple(each.on_settled for each in extensions if _overrides(each, "on_settled")),
        )


def _overrides(extension: Extension, hook: str) -> bool:
    return getattr(type(extension), hook) is not getattr(Extension, hook) or hook in vars(extension)

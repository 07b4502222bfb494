"""Options: the reference of all class keywords of handlers; it checks none of them.

The accepted values are in ``checks.py``, the defaults in ``spec.py``.
"""

from collections.abc import Sequence
from typing import Any, Final, TypedDict

from nsqkit.events.codec.protocol import Codec
from nsqkit.events.types import Select
from nsqkit.handler.extension import Layer
from nsqkit.handler.once import EventKey, Once
from nsqkit.handler.resources import Resource
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

MAX_IN_FLIGHT: Final = 2500
"""nsqd's default limit of RDY (its option max-rdy-count)."""
MAX_TIMEOUT_S: Final = 880.0
"""Shorter than nsqd's max-msg-timeout (15 min by default), which ends a delivery in any case."""
MAX_THREADS: Final = 256
TIMEOUT_S: Final = 30.0
"""Default timeout of a handler."""


class HandlerOptions(TypedDict, total=False):
    """The class keywords of ``Handler``, except ``abstract``.

    A class inherits the keywords of its base class and may override them. None is the same as omitting one.

    Attributes:
        name: Name of the handler in logs, metrics and commands; by default the name of the class. Needed if
            two handlers of one worker have the same class name.
        topic: Topic to consume; by default the topic of the events.
        channel: Channel to consume. Required.
        max_in_flight: Maximum number of messages handled at the same time; 1 to 2500, 100 by default. Those
            that wait for a thread count too, and for a batch handler those that wait for their batch: at
            least ``max_messages``, its default. At most ``max_in_flight // max_messages`` batches run at the
            same time.
        timeout_s: Seconds after which a call counts as failed; above 0, at most 880, 30 by default.
        retry: Retry policy: attempts, backoff, and the outcomes of certain errors.
        threads: Number of threads for a plain ``def handle``, each of which runs one call; 1 to 256, by
            default the setting ``threads``. It limits the calls that run. More messages are in flight if
            calls are short: as many as the threads start within about 2 ms.
        run_on_loop: True calls a plain ``def handle`` on the event loop, without a timeout; it must
            not block.
        max_age_s: Maximum age of a message to be handled, seconds since its publishing; above 0, no limit
            by default.
        on_expired: Outcome of older messages: ``"dead_letter"`` (default) or ``"discard"``.
        on_unknown: Outcome of event types that the handler does not take: ``"requeue"``,
            ``"discard"`` or ``"dead_letter"``; required if the topic has other known types.
        select: Chooses the event class of a body without an envelope, for producers that send several types:
            a function from the parsed JSON to one of the handler's event classes, or None for a type that
            the handler does not take (``on_unknown``). Not needed if msgspec tags or pydantic discriminators
            tell the types apart.
        codec: Format of the data, such as ``GzipCodec()``, instead of the codecs of its events.
        dead_letters: False discards messages instead of dead-lettering them; the default on ephemeral
            topics and channels.
        errors: Exception types with a separate metric label; those in ``retry`` have one already.
        kill_switch: Stops the intake when too many calls fail; none by default.
        rate_limit: Maximum number of messages (not batches) that one worker starts per second; no limit by
            default.
        middleware: Extensions around the handler, outermost first, inside those of the worker; added to
            those of the base class.
        uses: Per-message and per-thread resources for ``ctx.resource``; added to those of the base class.
        once: Database that remembers the handled events, so that an event is handled once: its row and what
            the handler writes are one transaction, also for a batch. Not with ``run_on_loop``.
        event_key: With ``once``, returns what identifies an event without an envelope, a text that is not
            empty. Without it, such an event becomes a dead letter.
    """

    name: str | None
    topic: str | None
    channel: str | None
    max_in_flight: int | None
    timeout_s: float | None
    retry: RetryPolicy | None
    threads: int | None
    run_on_loop: bool | None
    max_age_s: float | None
    on_expired: OnExpired | None
    on_unknown: OnUnknown | None
    select: Select | None
    codec: Codec | None
    dead_letters: bool | None
    errors: tuple[type[Exception], ...] | None
    kill_switch: KillSwitch | None
    rate_limit: RateLimit | None
    middleware: Sequence[Layer] | None
    uses: Sequence[Resource[Any]] | None
    once: Once | None
    event_key: EventKey | None


class BatchOptions(HandlerOptions, total=False):
    """The class keywords of ``BatchHandler``: those of ``Handler`` and two more.

    Attributes:
        max_messages: Maximum number of messages in one call; 1 to 2500, 100 by default.
        max_wait_s: Seconds that the first message of a batch waits for others; above 0, 1 by default. The
            sum of ``max_wait_s`` and ``timeout_s`` is at most 880.
    """

    max_messages: int | None
    max_wait_s: float | None

"""Options: the class keywords of handlers, each described here and nowhere else; it checks none of them.

The values that a keyword accepts are in ``checks.py``, its default is in ``spec.py``.
"""

from collections.abc import Sequence
from typing import Any, Final, TypedDict

from nsqkit.handler.extension import Layer
from nsqkit.handler.resources import Resource
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

MAX_IN_FLIGHT: Final = 2500
"""nsqd's own limit of RDY (its option max-rdy-count)."""
MAX_TIMEOUT_S: Final = 880.0
"""A delivery cannot be held longer than nsqd's max-msg-timeout, 15 min by default."""
MAX_THREADS: Final = 256
TIMEOUT_S: Final = 30.0
"""The timeout of a handler that declares none."""


class HandlerOptions(TypedDict, total=False):
    """The class keywords of ``Handler``, beside ``abstract``.

    A class inherits those of its base class and may change them. None is the same as leaving one out.

    Attributes:
        topic: The topic; by default the one of the events.
        channel: The channel. Required.
        max_in_flight: Messages handled at the same time; 1 to 2500, 100 by default. Of a batch handler:
            messages handled or gathered; by default ``max_messages``, and not less. As many batches run
            at the same time as would be full with it.
        timeout_s: Seconds after which a call counts as failed; above 0, at most 880, 30 by default.
        retry: Attempts, backoff, and the outcomes of certain errors.
        threads: Threads for a plain ``def handle``, each of which runs one call; 1 to 256, by default
            the setting ``threads``. They bound max_in_flight, except that of a batch handler.
        run_on_loop: True calls a plain ``def handle`` on the event loop, without a timeout; it must
            not block.
        max_age_s: Messages published longer ago are not handled; seconds above 0.
        on_expired: The outcome of those messages: ``"dead_letter"`` (default) or ``"discard"``.
        on_unknown: The outcome of event types that the handler does not take: ``"requeue"``,
            ``"discard"`` or ``"dead_letter"``; must be chosen where the topic has other known types.
        dead_letters: False discards messages instead of dead-lettering them, which is the default on
            ephemeral topics and channels.
        errors: Exception types that get their own metric label; those in ``retry`` have one.
        kill_switch: Stops the intake when too many calls fail; never by default.
        rate_limit: How many messages, not batches, one worker starts per second; no limit by default.
        middleware: Extensions around the handler, inside the worker's, the outermost first; a class adds
            its own to those of its base class.
        uses: Resources per message or per thread, which ``ctx.resource`` returns; a class adds its own to
            those of its base class.
    """

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
    dead_letters: bool | None
    errors: tuple[type[Exception], ...] | None
    kill_switch: KillSwitch | None
    rate_limit: RateLimit | None
    middleware: Sequence[Layer] | None
    uses: Sequence[Resource[Any]] | None


class BatchOptions(HandlerOptions, total=False):
    """The class keywords of ``BatchHandler``: those of ``Handler``, and two of its own.

    Attributes:
        max_messages: Most messages of one call; 1 to 2500, 100 by default.
        max_wait_s: How long the first message waits for others; above 0 seconds, 1 by default. With
            ``timeout_s`` it is at most 880.
    """

    max_messages: int | None
    max_wait_s: float | None

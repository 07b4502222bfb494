"""Recorder: receives what happens to one message, for an extension such as tracing."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

from nsqkit.policy.breaker import BreakerState
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.policy.verdict import Verdict


class Recorder(Protocol):
    """Receives what happens to one message; an extension adds it to ``ctx.recorders``.

    A message with a recorder is settled by itself, which costs more than the usual way.
    """

    @property
    def log_fields(self) -> Mapping[str, str]:
        """Fields for nsqkit's log lines about the message, such as the id of its trace."""

    @property
    def trace_id(self) -> str:
        """The trace that the message belongs to, 32 hexadecimal digits, as the exemplar of its duration."""

    def settled(self, verdict: Verdict, error: BaseException | None) -> None:
        """Receive the outcome of the delivery, after FIN or REQ is sent.

        Args:
            verdict: Label, reason, delay and detail of the outcome.
            error: The exception that caused the outcome; None if none did.
        """

    def kept(self, reason: str, error: BaseException | None) -> None:
        """Learn that the delivery has no outcome yet: in an outage, it waits to be handled again.

        Args:
            reason: Why the intake pauses.
            error: The exception that the handler raised; None if none did.
        """

    def switched(self, state: SwitchState) -> None:
        """Learn that the result of the handler has changed the state of its kill switch."""


class WatchesBreakers(Protocol):
    """Receives changes of breakers."""

    def __call__(self, dependency: str, state: BreakerState) -> object:
        """Learn that a call of the dependency has changed the state of its breaker."""


breaker_watch: ContextVar[WatchesBreakers | None] = ContextVar("breaker_watch", default=None)
"""Called in the task or thread in which a breaker changes its state; None for nobody."""

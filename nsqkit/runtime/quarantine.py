"""Quarantine: suspects, which may crash the process, run alone in their worker, one at a time."""

from typing import Any, Protocol

from nsqkit.policy.quarantine import turn
from nsqkit.runtime.delivery import Delivery


class QuarantineMember(Protocol):
    """The intake of one handler, as the quarantine uses it."""

    @property
    def is_busy(self) -> bool:
        """Whether a delivery that is no suspect runs or may start."""

    def suspect_turn(self) -> Any:
        """Return the sort key (``policy.quarantine.turn``) of the next suspect; None if none may run."""

    def isolate(self, *, is_on: bool) -> None:
        """Stop taking messages in; False resumes."""

    def run_suspect(self) -> None:
        """Start the next suspect."""

    def wake(self) -> None:
        """Start the waiting deliveries that may start."""


class Suspects:
    """The suspects of one handler: the waiting ones, and the one that runs alone."""

    def __init__(self) -> None:
        self.waiting: list[Delivery] = []
        self._running: Delivery | None = None

    def next_turn(self) -> tuple[int, int] | None:
        """Return the sort key (``policy.quarantine.turn``) of the next suspect; None if none waits."""
        return min(map(_turn, self.waiting), default=None)

    def start_next(self) -> Delivery:
        """Remove the next suspect from the waiting ones, and return it to run alone."""
        self._running = delivery = min(self.waiting, key=_turn)
        self.waiting.remove(delivery)
        return delivery

    def release(self, delivery: Delivery) -> bool:
        """Return whether this delivery was the running suspect, and let the next one run; true only once."""
        if delivery is not self._running:
            return False
        self._running = None
        return True


class Quarantine:
    """The suspects of all handlers of one worker.

    While there are suspects, no handler takes messages in. Other deliveries in flight run first, so that they
    have their outcome before a suspect can crash the process.

    Attributes:
        runs_suspect: Whether a suspect is running, so that no other delivery may start.
        is_on: Whether a suspect waits or runs, so that no handler takes messages in.
    """

    def __init__(self) -> None:
        self._members: list[QuarantineMember] = []
        self.runs_suspect = False
        self.is_on = False

    def join(self, member: QuarantineMember) -> None:
        """Add the intake of a handler."""
        self._members.append(member)

    def advance(self, *, suspect_ended: bool = False) -> None:
        """Start the next suspect if it may run; call this when a suspect arrives or anything ends or changes.

        Args:
            suspect_ended: Whether the running suspect has ended or its lease is lost.
        """
        if suspect_ended:
            self.runs_suspect = False
            for member in self._members:
                member.wake()
        if self.runs_suspect:
            return
        waiting = [member for member in self._members if member.suspect_turn() is not None]
        if self.is_on != bool(waiting):
            self.is_on = bool(waiting)
            for member in self._members:
                member.isolate(is_on=self.is_on)
        if waiting and not any(member.is_busy for member in self._members):
            self.runs_suspect = True
            min(waiting, key=lambda member: member.suspect_turn()).run_suspect()


def _turn(delivery: Delivery) -> tuple[int, int]:
    return turn(delivery.message.attempts, delivery.message.id)

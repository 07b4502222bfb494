"""Quarantine: deliveries that may end their process run alone in it, one after the other."""

from typing import Any, Protocol

from nsqkit.policy.quarantine import turn
from nsqkit.runtime.delivery import Delivery


class QuarantineMember(Protocol):
    """One handler's intake, as the quarantine sees it."""

    @property
    def is_busy(self) -> bool:
        """Whether something runs, or may start, that is no suspect."""

    def suspect_turn(self) -> Any:
        """Return the key of its next suspect, by ``policy.quarantine.turn``; None where none may run."""

    def isolate(self, *, is_on: bool) -> None:
        """Take nothing more in; False ends that."""

    def run_suspect(self) -> None:
        """Start its next suspect."""

    def wake(self) -> None:
        """Start what waits and may start."""


class Suspects:
    """The suspects of one handler: those that wait, and the one that runs alone."""

    def __init__(self) -> None:
        self.waiting: list[Delivery] = []
        self._alone: Delivery | None = None

    def next_turn(self) -> tuple[int, int] | None:
        """Return the key of the next one, by ``policy.quarantine.turn``; None if none waits."""
        return min(map(_turn, self.waiting), default=None)

    def start_next(self) -> Delivery:
        """Take out the next one, which now runs alone."""
        self._alone = delivery = min(self.waiting, key=_turn)
        self.waiting.remove(delivery)
        return delivery

    def has_left(self, delivery: Delivery) -> bool:
        """Return whether it ran alone and others need not wait for it any longer; true only once."""
        if delivery is not self._alone:
            return False
        self._alone = None
        return True


class Quarantine:
    """The suspects of all handlers of one worker.

    While there are any, no handler takes messages in. What is held that is no suspect runs first, so that
    it has its outcome before anything can end the process.

    Attributes:
        is_someone_alone: Whether a suspect is running, so that nothing else may start.
        is_on: Whether any waits or runs, so that no handler takes anything in.
    """

    def __init__(self) -> None:
        self._members: list[QuarantineMember] = []
        self.is_someone_alone = False
        self.is_on = False

    def join(self, member: QuarantineMember) -> None:
        """Add a handler's intake."""
        self._members.append(member)

    def go_on(self, *, has_left: bool = False) -> None:
        """See whose turn it is; to be called whenever a suspect comes, something ends, or a gate moves.

        Args:
            has_left: Whether it was the suspect that ended.
        """
        if has_left:
            self.is_someone_alone = False
            for member in self._members:
                member.wake()
        if self.is_someone_alone:
            return
        waiting = [member for member in self._members if member.suspect_turn() is not None]
        if self.is_on != bool(waiting):
            self.is_on = bool(waiting)
            for member in self._members:
                member.isolate(is_on=self.is_on)
        if waiting and not any(member.is_busy for member in self._members):
            self.is_someone_alone = True
            min(waiting, key=lambda member: member.suspect_turn()).run_suspect()


def _turn(delivery: Delivery) -> tuple[int, int]:
    return turn(delivery.message.attempts, delivery.message.id)

"""Quarantine: deliveries that may end their process run alone in it, one after the other."""

from typing import Any, Protocol


class Ward(Protocol):
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


class Quarantine:
    """The suspects of all handlers of one worker.

    While there are any, no handler takes messages in. What is held that is no suspect runs first, so that
    it has its outcome before anything can end the process.

    Attributes:
        is_someone_alone: Whether a suspect is running, so that nothing else may start.
        is_on: Whether any waits or runs, so that no handler takes anything in.
    """

    def __init__(self) -> None:
        self._wards: list[Ward] = []
        self.is_someone_alone = False
        self.is_on = False

    def join(self, ward: Ward) -> None:
        """Add a handler's intake."""
        self._wards.append(ward)

    def go_on(self, *, has_left: bool = False) -> None:
        """See whose turn it is; to be called whenever a suspect comes, something ends, or a gate moves.

        Args:
            has_left: Whether it was the suspect that ended.
        """
        if has_left:
            self.is_someone_alone = False
            for ward in self._wards:
                ward.wake()
        if self.is_someone_alone:
            return
        waiting = [ward for ward in self._wards if ward.suspect_turn() is not None]
        if self.is_on != bool(waiting):
            self.is_on = bool(waiting)
            for ward in self._wards:
                ward.isolate(is_on=self.is_on)
        if waiting and not any(ward.is_busy for ward in self._wards):
            self.is_someone_alone = True
            min(waiting, key=lambda ward: ward.suspect_turn()).run_suspect()

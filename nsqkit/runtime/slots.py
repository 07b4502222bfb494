"""Slots: how many deliveries of one handler run, how many may, and which are lost."""

from collections.abc import Callable

from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.gate import Gate


class Slots:
    """The slots of one handler; each runs one delivery.

    A slot is lost while its delivery runs although the lease is over, such as a thread that hangs. It counts
    neither as running nor as free, and the consumer takes in one message less. On trial, deliveries that
    started before the outage do not take the place of a trial.

    A handler with threads has a slot for each; a few more deliveries may wait for a thread, and count as
    running.

    Args:
        count: Number of slots; 1 or more.
        gate: The gate of the handler's intake.
        resize: Called with :attr:`left` whenever it changes.
        most: Upper limit of :attr:`left`; by default the number of slots.

    Attributes:
        count: Number of slots, lost ones included.
        limit: Number of deliveries that may run now; 0 while the gate is shut.
        running: Number of deliveries that run in slots that are not lost.
        epoch: The gate's epoch, for deliveries that start now.
        lost: Number of lost slots.
        is_full: Whether the lost slots leave no room for a call, as those of a batch do.
    """

    def __init__(
        self, count: int, gate: Gate, *, resize: Callable[[int], None], most: int | None = None
    ) -> None:
        self.count = count
        self._most = count if most is None else most
        self._per_slot = 1.0
        self._gate = gate
        self._resize = resize
        self._earlier = 0  # running deliveries that started in an earlier epoch
        self.is_full = False
        self.limit = count
        self.running = self.lost = 0
        self.epoch = gate.epoch

    def update(self) -> None:
        """Follow the gate."""
        gate = self._gate
        if self.epoch != gate.epoch:
            self.epoch, self._earlier = gate.epoch, self.running
        limit = gate.limit
        if gate.is_on_trial and limit:
            limit += self._earlier
        self.limit = min(limit, self.left)

    @property
    def left(self) -> int:
        """Number of deliveries that may run while the gate is open; 0 if all slots are lost."""
        return 0 if self.is_full else min(int((self.count - self.lost) * self._per_slot), self._most)

    def spread(self, per_slot: float) -> None:
        """Let so many deliveries run per slot, those that wait for a thread included.

        Args:
            per_slot: 1 or more, not necessarily a whole number.
        """
        before, self._per_slot = self.left, per_slot
        if self.left != before:
            self.update()
            self._resize(self.left)

    def take(self) -> int:
        """Occupy a slot, and return the epoch, which :meth:`free` needs."""
        self.running += 1
        return self.epoch

    def free(self, epoch: int) -> None:
        """Free a slot that is not lost.

        Args:
            epoch: The epoch in which it was taken.
        """
        self.running -= 1
        if epoch != self.epoch:
            self._earlier -= 1
            self.update()

    def lose(self, delivery: Delivery, *, is_full: bool) -> None:
        """Count the slot of a running delivery as lost.

        Args:
            delivery: The delivery.
            is_full: Whether no further call can start until a lost one ends.
        """
        self.release(delivery)
        delivery.lose_slot()
        self.lost += 1
        self.is_full = is_full
        self.update()
        self._resize(self.left)

    def release(self, delivery: Delivery) -> None:
        """Free the slot of a delivery that has ended."""
        if delivery.has_lost_slot:
            self.lost -= 1
            self.is_full = False
            self._resize(self.left)
            self.update()
        else:
            self.free(delivery.epoch)

"""Fleet: all child workers as one, for the admin server and for the end of a run; it starts and ends none."""

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nsqkit.admin import HandlerState
from nsqkit.background import Background
from nsqkit.process.child import Subscriptions
from nsqkit.process.child_state import ChildState
from nsqkit.process.idle import Workload
from nsqkit.process.requests import NoAnswerError
from nsqkit.process.running_child import RunningChild
from nsqkit.process.slot import Slot


class Fleet:
    """Asks all child workers, and names the one that an answer is about.

    Args:
        slots: The places of the workers.
        background: The tasks of the parent that must not die.
    """

    def __init__(self, slots: Sequence[Slot], background: Background) -> None:
        self._slots = slots
        self._background = background
        self._paused_until_s: dict[str, float] = {}

    @property
    def subscriptions(self) -> Subscriptions:
        """The (topic, channel) pairs of the handlers; empty while no worker is ready."""
        found = (pair for slot in self._slots if slot.child is not None for pair in slot.child.subscriptions)
        return list(dict.fromkeys(found))

    async def faults(self) -> tuple[str, ...]:
        """Return why only a restart helps, one line each; a worker that is restarted has none."""
        return self._background.died + _named([state.faults for state in await self.states()])

    async def problems(self) -> tuple[str, ...]:
        """Return why workers are not ready, one line each; empty if all are."""
        return _named([state.problems for state in await self.states()])

    async def handler_states(self) -> tuple[HandlerState, ...]:
        """Return the state of every handler in every worker."""
        return numbered(await self.states())

    async def pause_handler(self, name: str, for_s: float | None) -> bool:
        """Pause a handler in all workers, and in those that start before the pause ends.

        Args:
            name: Class name of the handler.
            for_s: Seconds above 0; None until it is resumed.
        """
        self._paused_until_s[name] = math.inf if for_s is None else time.monotonic() + for_s
        known = await self._ask_all("pause", name=name, for_s=for_s)
        if not known:
            del self._paused_until_s[name]
        return known

    async def resume_handler(self, name: str) -> bool:
        """End the pause of a handler in all workers.

        Args:
            name: Class name of the handler.
        """
        self._paused_until_s.pop(name, None)
        return await self._ask_all("resume", name=name)

    async def pause_again(self, child: RunningChild) -> None:
        """Pause in a new child the handlers that are paused in the others."""
        for name, until_s in tuple(self._paused_until_s.items()):
            left_s = until_s - time.monotonic()
            if left_s > 0:
                await child.ask("pause", name=name, for_s=None if left_s == math.inf else left_s)

    async def subscribed_to(self, address: str) -> bool:
        """Return whether every handler of every worker is subscribed at one nsqd.

        Args:
            address: ``host:port`` of the nsqd.
        """
        children = [slot.child for slot in self._slots if slot.child is not None]
        if len(children) < len(self._slots):
            return False
        try:
            return all([await child.ask("subscribed", address=address) for child in children])
        except NoAnswerError:
            return False

    async def workload(self) -> Workload | None:
        """Return the messages of all workers together; None while one of them does not run or answer."""
        states = await self.states()
        if not all(state.handlers for state in states):
            return None
        return Workload(
            sum(state.held for state in states),
            min((each.next_requeue_s for each in states if each.next_requeue_s is not None), default=None),
            any(state.is_blocked for state in states),
        )

    async def states(self) -> list[ChildState]:
        """Return the state of each worker."""
        return await asyncio.gather(*(slot.state() for slot in self._slots))

    async def ask_each(self, question: str, **arguments: object) -> list[tuple[int, Any]]:
        """Return the number of each worker that answers a question, and its answer."""
        children = [slot.child for slot in self._slots if slot.child is not None]
        answers = await asyncio.gather(
            *(child.ask(question, **arguments) for child in children), return_exceptions=True
        )
        pairs = zip(children, answers, strict=True)
        return [(child.number, answer) for child, answer in pairs if not isinstance(answer, BaseException)]

    async def ask_first(self, question: str, **arguments: object) -> Any:
        """Return the answer of the first worker that answers a question; None if none does."""
        for child in [slot.child for slot in self._slots if slot.child is not None]:
            with contextlib.suppress(NoAnswerError):
                return await child.ask(question, **arguments)
        return None

    def is_paused(self, name: str) -> bool:
        """Return whether an operator has paused a handler in all workers.

        Args:
            name: Class name of the handler.
        """
        return self._paused_until_s.get(name, 0.0) > time.monotonic()

    async def _ask_all(self, question: str, **arguments: object) -> bool:
        """Return whether a worker has the handler; one that does not answer has an unknown state."""
        return any(answer is True for _, answer in await self.ask_each(question, **arguments))


def numbered(states: Sequence[ChildState]) -> tuple[HandlerState, ...]:
    """Return the state of every handler in every worker, with the number of the worker.

    Args:
        states: The state of each worker.
    """
    return tuple(
        replace(each, worker=number) for number, state in enumerate(states, 1) for each in state.handlers
    )


def _named(lines: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the lines of all workers, with the number of each."""
    return tuple(f"worker {number}: {line}" for number, own in enumerate(lines, 1) for line in own)

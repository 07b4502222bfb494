"""Drain: end several intakes so that every message they hold is settled, or told to be left behind."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from nsqkit.runtime.ports import Source

CANCEL_S = 5.0
"""How long cancelled handlers may take to end, and their messages to be given back."""


class Held(Protocol):
    """What an intake holds."""

    @property
    def held(self) -> int: ...  # noqa: D102
    @property
    def is_settling(self) -> bool: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102
    def give_back(self) -> None: ...  # noqa: D102
    def cancel(self) -> None: ...  # noqa: D102
    async def wait_empty(self) -> None: ...  # noqa: D102


async def drain(
    pairs: Sequence[tuple[Held, Source]], *, grace_s: float, publish_timeout_s: float, log: Any
) -> int:
    """Stop the intakes, let running handlers end, give the rest back, and disconnect.

    Args:
        pairs: Each intake with its source.
        grace_s: Seconds that running handlers get before they are cancelled.
        publish_timeout_s: Seconds that a dead letter which is under way then may take.
        log: A structlog logger.

    Returns:
        How many messages are left to their leases, because a thread still runs; 0 is a clean end.
    """
    for intake, _ in pairs:
        intake.stop()
    # Given back any sooner, nsqd would deliver them here again, at the cost of an attempt.
    await asyncio.gather(*(source.stop_intake() for _, source in pairs))
    for intake, _ in pairs:
        intake.give_back()
    if not await _all_empty(pairs, grace_s):
        log.warning("drain_grace_over", held=sum(intake.held for intake, _ in pairs), grace_s=grace_s)
        for intake, _ in pairs:
            intake.cancel()
        if not await _all_empty(pairs, CANCEL_S) and any(intake.is_settling for intake, _ in pairs):
            await _all_empty(pairs, publish_timeout_s)
    left = sum(intake.held for intake, _ in pairs)
    if left:
        log.error(
            "drain_left_behind",
            messages=left,
            hint="a thread did not end; nsqd delivers them again",
        )
    await asyncio.gather(*(source.close(CANCEL_S) for _, source in pairs))
    return left


async def _all_empty(pairs: Sequence[tuple[Held, Source]], timeout_s: float) -> bool:
    waits = [asyncio.ensure_future(intake.wait_empty()) for intake, _ in pairs]
    if not waits:
        return True
    _, pending = await asyncio.wait(waits, timeout=timeout_s)
    for wait in pending:
        wait.cancel()
    return not pending

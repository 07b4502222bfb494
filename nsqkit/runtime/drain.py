"""Drain: stop the intakes of a worker, and settle every message in flight or count it as left behind."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from nsqkit.runtime.ports import Source

CANCEL_S = 5.0
"""Seconds that cancelled handlers get to end, and that their messages get to be requeued."""


class Held(Protocol):
    """An intake and the messages that it holds."""

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
    """Stop the intakes, let running handlers finish, requeue the rest, and disconnect.

    Args:
        pairs: Each intake with its source.
        grace_s: Seconds that running handlers get before they are cancelled; 0 or more.
        publish_timeout_s: Seconds that publishes get after the cancellation, for messages being settled.
        log: structlog logger.

    Returns:
        Number of messages left behind because their handlers still run, in threads or as tasks that ignore
        their cancellation; 0 for a clean drain.
    """
    for intake, _ in pairs:
        intake.stop()
    # Requeued before CLS, a message would be delivered to this worker again, which costs an attempt.
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
            hint="their handlers still run; nsqd delivers the messages again",
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

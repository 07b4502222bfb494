"""Keep trying: repeats an attempt while nsqd or nsqlookupd cannot be reached."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nsqkit.errors import ConnectionLostError, PublishError

RETRY_FIRST_S = 0.2
RETRY_LONGEST_S = 5.0

T = TypeVar("T")


async def keep_trying(attempt: Callable[[], Awaitable[T]], log: Any) -> T:
    """Repeat an attempt until it succeeds, with growing waits; each failure is logged.

    Args:
        attempt: Called again while nsqd or nsqlookupd cannot be reached.
        log: A structlog logger.

    Returns:
        What the first successful attempt returned.

    Raises:
        NsqkitError: If the attempt can never succeed.
    """
    wait_s = RETRY_FIRST_S
    while True:
        try:
            return await attempt()
        except (PublishError, ConnectionLostError) as error:
            if isinstance(error, PublishError) and error.permanent:
                raise
            log.warning("feed_waits", error=str(error), retry_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, RETRY_LONGEST_S)

"""Slices: long work on the event loop in short parts, so that messages are handled between them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")


async def sliced(items: Iterable[T], size: int) -> AsyncIterator[T]:
    """Yield items, and let the event loop turn after each *size* of them.

    Args:
        items: Any number of items.
        size: How many are handled without a break; 1 or more.
    """
    for number, item in enumerate(items, 1):
        yield item
        if not number % size:
            await asyncio.sleep(0)

"""Awaited: whether a handle method is asynchronous, also under a decorator, and how to await it."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_args, get_origin


def is_async(handle: Callable[..., Any]) -> bool:
    """Return whether a method is to be awaited: as a coroutine function, around one, or by its annotation."""
    called = inspect.unwrap(handle)
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(handle) or _is_annotated(handle)


def as_coroutine(handle: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return a coroutine function for an asynchronous method; the method itself if it is one."""
    if inspect.iscoroutinefunction(handle):
        return handle

    async def awaiting(*args: Any) -> Any:
        returned = handle(*args)
        return await returned if inspect.isawaitable(returned) else returned

    return awaiting


def _is_annotated(handle: Callable[..., Any]) -> bool:
    try:
        returned = typing.get_type_hints(handle).get("return")
    except Exception:  # noqa: BLE001 - an annotation may be any expression
        return False
    members = (returned, *get_args(returned))
    kinds = (get_origin(each) or each for each in members)
    return any(isinstance(kind, type) and issubclass(kind, Awaitable) for kind in kinds)

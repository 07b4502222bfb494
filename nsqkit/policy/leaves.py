"""Leaves: the single errors inside an exception group, such as one that ``asyncio.TaskGroup`` raises."""

from nsqkit.errors import BreakerOpenError

Types = type[BaseException] | tuple[type[BaseException], ...]


def leaves(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors of a group, those of nested groups included; of any other error, itself alone."""
    if isinstance(error, BaseExceptionGroup):
        return tuple(leaf for each in error.exceptions for leaf in leaves(each))
    return (error,)


def has(error: BaseException, types: Types) -> bool:
    """Return whether an error, or one of its leaves, is an instance of *types*."""
    return isinstance(error, types) or any(isinstance(leaf, types) for leaf in leaves(error))


def type_name(error: BaseException) -> str:
    """Return the class name of an error; of a group, that of its first leaf."""
    return type(leaves(error)[0]).__name__


def refused_for_s(error: BaseException | None) -> float | None:
    """Return the seconds after which to retry calls that open breakers refused.

    Args:
        error: The exception that ended a handler's call; None if it returned.

    Returns:
        Seconds, 0 or more; None unless the error, or every leaf of the group, is a ``BreakerOpenError``.
    """
    if error is None:
        return None
    found = leaves(error)
    refusals = [leaf.remaining_s for leaf in found if isinstance(leaf, BreakerOpenError)]
    return max(refusals) if len(refusals) == len(found) else None

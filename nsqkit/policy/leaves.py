"""Leaves: the single errors inside an exception group, such as one that ``asyncio.TaskGroup`` raises."""

from contextlib import suppress

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


_LATE = "nsqkit_late_failure"


def mark_late(error: BaseException, dependency: str) -> None:
    """Remember on an error that a call of a dependency failed after its breaker had opened."""
    with suppress(AttributeError, TypeError):  # a class may take no attributes
        setattr(error, _LATE, dependency)


def late_failures(error: BaseException) -> frozenset[str]:
    """Return the dependencies of calls that failed after the breaker had opened, and so caused an error.

    Args:
        error: The exception that a handler raised; its leaves, causes and contexts are searched too.
    """
    found, seen = set(), set()
    left: list[BaseException | None] = [error]
    while left:
        if (each := left.pop()) is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(name := getattr(each, _LATE, None), str):
            found.add(name)
        left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        left += [each.__cause__, each.__context__]
    return frozenset(found)


def refused_by(error: BaseException) -> frozenset[str]:
    """Return the dependencies whose open breakers refused a call: an error or a leaf of it says so."""
    return frozenset(leaf.dependency for leaf in leaves(error) if isinstance(leaf, BreakerOpenError))

"""Mistakes: whether a statement raises its mistakes, or leaves them to the loader. It finds none."""

from contextvars import ContextVar

from nsqkit.errors import HandlerError

deferring: ContextVar[bool] = ContextVar("deferring", default=False)
"""Set by the loader, which reports the mistakes of all statements together."""


def report(problems: tuple[str, ...]) -> None:
    """Raise the mistakes of a statement, unless the loader collects them.

    Args:
        problems: One line per mistake, ``file:line: problem; remedy``; empty if there is none.

    Raises:
        HandlerError: If there are mistakes and no loader collects them.
    """
    if problems and not deferring.get():
        raise HandlerError(problems)

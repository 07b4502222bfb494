"""Pools: the connections of one database, how many are in use, and how many callers wait for one."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import AsyncAdaptedQueuePool, PoolProxiedConnection, QueuePool

_FAMILY: Final = "nsqkit_database_pool"


class PlainPool(QueuePool):
    """Connections for threads. It counts the threads that wait for one, as SQLAlchemy does not."""

    _sqla_logger_namespace = "sqlalchemy.pool"  # without it, the logger has the name of this module

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: deque[None] = deque()  # threads may append and pop without a lock

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection, or for the database to accept a new one."""
        return len(self._waiting)

    def connect(self) -> PoolProxiedConnection:
        """Return a connection, once one is free."""
        self._waiting.append(None)
        try:
            return super().connect()
        finally:
            self._waiting.pop()


class LoopPool(AsyncAdaptedQueuePool, PlainPool):
    """Connections for the event loop, where a caller waits in a task."""


def figures(database: str, pools: Mapping[str, PlainPool]) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield the size and the use of pools, as metrics have them.

    Args:
        database: Name of the database.
        pools: The pool of each kind of handler.
    """
    for kind, pool in pools.items():
        labels = (database, kind)
        yield f"{_FAMILY}_size", labels, pool.size()
        yield f"{_FAMILY}_in_use", labels, pool.checkedout()
        yield f"{_FAMILY}_waiting", labels, pool.waiting

"""The answer to a question of a test: checks how many there are, and shows the history if that is wrong."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Found(Generic[T]):
    """What a question to the harness found, in order of time.

    A question alone checks nothing. End it with ``once()``, ``times(n)`` or ``never()``, or use the
    answer: ``[delivery] = h.requeued(OrderCreated)``, ``assert len(h.published(OrderShipped)) > 1``.

    Args:
        question: The question as the test wrote it.
        items: The answer.
        owners: The handler's name of each item.
        history: Returns the history of the messages.
    """

    def __init__(
        self, question: str, items: Sequence[T], *, owners: Sequence[str], history: Callable[[], str]
    ) -> None:
        self.question = question
        self.is_used = False
        self._items = tuple(items)
        self._owners = owners
        self._history = history

    def __iter__(self) -> Iterator[T]:
        self.is_used = True
        return iter(self._items)

    def __len__(self) -> int:
        self.is_used = True
        return len(self._items)

    def __getitem__(self, index: int) -> T:
        self.is_used = True
        return self._items[index]

    def __repr__(self) -> str:
        return f"<{self.question}: {list(self._items)!r}>"

    def once(self) -> T:
        """Check that there is exactly one, and return it.

        Raises:
            AssertionError: If there is none or there are more, with the history of the messages.
        """
        __tracebackhide__ = True
        return self.times(1)[0]

    def never(self) -> None:
        """Check that there is none.

        Raises:
            AssertionError: If there is one, with the history of the messages.
        """
        __tracebackhide__ = True
        self.times(0)

    def times(self, count: int) -> tuple[T, ...]:
        """Check that there are exactly *count*, and return them.

        Raises:
            AssertionError: If there are fewer or more, with the history of the messages.
        """
        __tracebackhide__ = True
        self.is_used = True
        if len(self._items) != count:
            raise HistoryError(f"{self.question}: expected {count}, found {self._tally()}\n{self._history()}")
        return self._items

    def _tally(self) -> str:
        by_owner = Counter(self._owners)
        tally = f"{len(self._items)}"
        if by_owner:
            tally += f" ({', '.join(f'{owner} {count}' for owner, count in by_owner.items())})"
        return f"{tally}; choose one with by=…" if len(by_owner) > 1 else tally


class HistoryError(AssertionError):
    """An expectation that was not met; the text ends with the history of the messages."""


def question(name: str, event: object, **narrowed: Any) -> str:
    """Return a question as a test writes it."""
    parts = [] if event is None else [event.__name__ if isinstance(event, type) else repr(event)]
    for key, value in narrowed.items():
        if value is not None:
            parts.append(f"{key}={value.__name__ if isinstance(value, type) else repr(value)}")
    return f"{name}({', '.join(parts)})"

"""Store: dead letters in a SQLite file; a call that returns has written to the disk. It talks to no nsqd.

Calls wait for the disk, and for other processes that write to the same file. On an event loop, make them in
a thread, one at a time.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from nsqkit.dead_letters.filters import FIELDS, Filters
from nsqkit.dead_letters.parse import CollectedLetter, source_of
from nsqkit.dead_letters.sql import APPLICATION_ID, COLUMNS, SCHEMA, VERSION, condition
from nsqkit.errors import DeadLetterStoreError, SettingsError
from nsqkit.policy import names

FOLDER: Final = ".nsqkit"
"""A store's folder of this name is created if it is missing, with a .gitignore that ignores its contents."""

_BUSY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter in the store.

    Args:
        id: Its number in the store, which is never used again.
        letter: The dead letter as it was collected.
        replays: How often nsqd has confirmed a replay of it.
        replayed_at: Time of the last replay, RFC 3339 UTC; None if it was never replayed.
    """

    id: int
    letter: CollectedLetter
    replays: int
    replayed_at: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters that have something in common.

    Args:
        value: What they have in common; empty if it is unknown.
        count: How many there are.
        replayed: How many of them were replayed.
        newest: When the last of them was given up, RFC 3339 UTC.
    """

    value: str
    count: int
    replayed: int
    newest: str


class Store:
    """A file of dead letters; a context manager.

    Args:
        path: The SQLite file.
        make: Whether to create the file if there is none.

    Raises:
        SettingsError: If there is no file and *make* is False.
        DeadLetterStoreError: If the file cannot be used, or is not a store of dead letters.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        if make:
            _make(path)
        elif not path.exists():
            raise SettingsError(
                f"there is no store {path}: `nsqkit dead collect` creates it; --store names another"
            )
        with self._translating_errors():
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
        try:
            with self._translating_errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        self._connection.close()

    def add(self, letters: Sequence[CollectedLetter]) -> int:
        """Store dead letters, all or none; they are on the disk when it returns.

        Args:
            letters: n dead letters; one that is in the store already is left as it is.

        Returns:
            How many were new.

        Raises:
            DeadLetterStoreError: If they are not stored.
        """
        columns, marks = ", ".join(COLUMNS), ", ".join(f":{name}" for name in COLUMNS)
        statement = f"INSERT OR IGNORE INTO letters ({columns}) VALUES ({marks})"  # noqa: S608 - our own names
        with self._translating_errors(), self._connection:
            return self._connection.executemany(statement, map(asdict, letters)).rowcount

    def has(self, letter: CollectedLetter) -> bool:
        """Return whether a dead letter is stored that was read from the same place, at whatever time.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        query = "SELECT 1 FROM letters WHERE dead_topic = ? AND nsqd = ? AND dead_message_id = ? LIMIT 1"
        place = (letter.dead_topic, letter.nsqd, letter.dead_message_id)
        with self._translating_errors():
            return self._connection.execute(query, place).fetchone() is not None

    def find(
        self, filters: Filters, *, limit: int | None = None, newest_first: bool = True
    ) -> Iterator[StoredLetter]:
        """Yield dead letters in the order of the times at which they were given up.

        Args:
            filters: Conditions that they must meet.
            limit: The largest number of them; None for all.
            newest_first: Whether the newest comes first; otherwise it comes last.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = condition(filters)
        order = "DESC" if newest_first else "ASC"
        query = (
            f"SELECT id, replays, replayed_at, {', '.join(COLUMNS)} FROM letters WHERE {where} "  # noqa: S608 - our own names
            f"ORDER BY dead_at {order}, id {order} LIMIT ?"
        )
        with self._translating_errors():
            for number, replays, replayed_at, *known in self._connection.execute(
                query, (*values, -1 if limit is None else limit)
            ):
                values_by_name = dict(zip(COLUMNS, known, strict=True))
                values_by_name["is_record"] = bool(values_by_name["is_record"])
                yield StoredLetter(number, CollectedLetter(**values_by_name), replays, replayed_at)

    def ids(self, filters: Filters, *, limit: int | None = None) -> list[int]:
        """Return the numbers of the dead letters that meet the filters, the oldest first.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = condition(filters)
        query = f"SELECT id FROM letters WHERE {where} ORDER BY dead_at, id LIMIT ?"  # noqa: S608 - our own names
        with self._translating_errors():
            rows = self._connection.execute(query, (*values, -1 if limit is None else limit))
            return [number for (number,) in rows]

    def count(self, filters: Filters) -> int:
        """Return how many dead letters meet the filters.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = condition(filters)
        with self._translating_errors():
            found = self._connection.execute(f"SELECT count(*) FROM letters WHERE {where}", values)  # noqa: S608 - our own names
            return int(found.fetchone()[0])

    def groups(self, filters: Filters, by: str) -> list[Group]:
        """Return dead letters counted by one of their fields, the largest group first.

        Args:
            filters: Conditions that they must meet.
            by: The field, a key of ``FIELDS``.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = condition(filters)
        column = FIELDS[by]
        query = (
            f"SELECT {column}, count(*), sum(replays > 0), max(dead_at) FROM letters WHERE {where} "  # noqa: S608 - our own names
            f"GROUP BY {column} ORDER BY count(*) DESC, {column}"
        )
        with self._translating_errors():
            return [Group(*row) for row in self._connection.execute(query, values)]

    def source_of(self, dead_topic: str) -> tuple[str, str]:
        """Return the (topic, channel) whose dead-letter topic this is, by its name or a record from it.

        Returns:
            Topic and channel; both empty if neither contains them.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        if (source := source_of(dead_topic))[1]:
            return source
        query = (
            "SELECT DISTINCT topic, channel FROM letters WHERE dead_topic = ? AND is_record AND channel <> ''"
        )
        with self._translating_errors():
            named = self._connection.execute(query, (dead_topic,)).fetchall()
        return next((each for each in named if names.dead_topic(*each) == dead_topic), ("", ""))

    def mark_replayed(self, ids: Iterable[int], at: str) -> None:
        """Record that nsqd has confirmed the replay of some dead letters.

        Args:
            ids: Their numbers in the store.
            at: When, RFC 3339 UTC.

        Raises:
            DeadLetterStoreError: If it is not recorded.
        """
        statement = "UPDATE letters SET replays = replays + 1, replayed_at = ? WHERE id = ?"
        with self._translating_errors(), self._connection:
            self._connection.executemany(statement, [(at, number) for number in ids])

    def remove(self, ids: Sequence[int]) -> int:
        """Delete dead letters permanently, all or none, and return how many.

        Raises:
            DeadLetterStoreError: If they are not deleted.
        """
        with self._translating_errors(), self._connection:
            numbers = [(number,) for number in ids]
            return self._connection.executemany("DELETE FROM letters WHERE id = ?", numbers).rowcount

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        is_empty = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        if application != APPLICATION_ID and not is_empty:
            raise self._error("it is a database of another program: --store names another file")
        if version > VERSION:
            raise self._error(f"a newer nsqkit wrote it (version {version}, not {VERSION}): use that one")
        if is_empty:  # so that readers do not block the writer
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(SCHEMA)
        self._connection.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def _translating_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(str(error)) from error

    def _error(self, reason: str) -> DeadLetterStoreError:
        return DeadLetterStoreError(str(self.path), reason)


def _make(path: Path) -> None:
    """Create the file. Only its owner may read it, because it contains whole messages."""
    try:
        if path.parent.name == FOLDER and not path.parent.exists():
            path.parent.mkdir()
            (path.parent / ".gitignore").write_text("*\n")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DeadLetterStoreError(str(path), f"it cannot be created: {error.strerror}") from None

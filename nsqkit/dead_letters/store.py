"""Store: dead letters in a SQLite file; what it has confirmed is on the disk. It talks to no nsqd.

The calls wait for the disk, and for other processes that write to the same file: on an event loop they
belong in a thread, one at a time.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Self

from nsqkit.dead_letters.filters import FIELDS, Filters
from nsqkit.dead_letters.letter import Letter
from nsqkit.errors import DeadLetterStoreError, SettingsError

FOLDER: Final = ".nsqkit"
"""A folder of this name is made where it is missing, with a .gitignore of its own."""

_APPLICATION_ID: Final = 0x6E73716B
_VERSION: Final = 1
_BUSY_S: Final = 30.0
_COLUMNS: Final = tuple(each.name for each in fields(Letter))
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dead_topic TEXT NOT NULL,
    nsqd TEXT NOT NULL,
    dead_message_id TEXT NOT NULL,
    dead_timestamp_ns INTEGER NOT NULL,
    is_record INTEGER NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    error_type TEXT NOT NULL,
    stack TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    published_at TEXT NOT NULL,
    dead_at TEXT NOT NULL,
    topic TEXT NOT NULL,
    channel TEXT NOT NULL,
    handler TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_id TEXT,
    traceparent TEXT,
    nsqkit_version TEXT NOT NULL,
    replays INTEGER NOT NULL DEFAULT 0,
    replayed_at TEXT,
    UNIQUE (dead_topic, nsqd, dead_message_id, dead_timestamp_ns)
);
CREATE INDEX IF NOT EXISTS letters_by_time ON letters (dead_at);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter in the store.

    Args:
        id: Its number; never given to another one.
        letter: It.
        replays: How often nsqd has confirmed a replay.
        replayed_at: When last, RFC 3339 UTC; None if never.
    """

    id: int
    letter: Letter
    replays: int
    replayed_at: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters that have something in common.

    Args:
        value: That; empty where it is not known.
        count: Of them.
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
        path: The file.
        make: Make it if there is none.

    Raises:
        SettingsError: If there is none.
        DeadLetterStoreError: If it cannot be used, or is not a file of dead letters.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        if make:
            _make(path)
        elif not path.exists():
            raise SettingsError(
                f"there is no store {path}: `nsqkit dead collect` makes it, --store names another"
            )
        with self._telling():
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
        try:
            with self._telling():
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

    def add(self, letters: Sequence[Letter]) -> int:
        """Store dead letters, all or none; when it returns they are on the disk.

        Args:
            letters: n of them; one that is stored already is left as it is.

        Returns:
            How many were new.

        Raises:
            DeadLetterStoreError: If they are not stored.
        """
        names, marks = ", ".join(_COLUMNS), ", ".join(f":{name}" for name in _COLUMNS)
        statement = f"INSERT OR IGNORE INTO letters ({names}) VALUES ({marks})"  # noqa: S608 - our own names
        with self._telling(), self._connection:
            return self._connection.executemany(statement, map(asdict, letters)).rowcount

    def find(
        self, filters: Filters, *, limit: int | None = None, newest_first: bool = True
    ) -> Iterator[StoredLetter]:
        """Give dead letters one by one, by the time at which they were given up.

        Args:
            filters: Which.
            limit: How many at most; None for all.
            newest_first: Whether the newest is the first, else the last.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = _where(filters)
        order = "DESC" if newest_first else "ASC"
        query = (
            f"SELECT id, replays, replayed_at, {', '.join(_COLUMNS)} FROM letters WHERE {where} "  # noqa: S608 - our own names
            f"ORDER BY dead_at {order}, id {order} LIMIT ?"
        )
        with self._telling():
            for number, replays, replayed_at, *known in self._connection.execute(
                query, (*values, -1 if limit is None else limit)
            ):
                values_by_name = dict(zip(_COLUMNS, known, strict=True))
                values_by_name["is_record"] = bool(values_by_name["is_record"])
                yield StoredLetter(number, Letter(**values_by_name), replays, replayed_at)

    def ids(self, filters: Filters, *, limit: int | None = None) -> list[int]:
        """Return the numbers of dead letters, the oldest first.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = _where(filters)
        query = f"SELECT id FROM letters WHERE {where} ORDER BY dead_at, id LIMIT ?"  # noqa: S608 - our own names
        with self._telling():
            rows = self._connection.execute(query, (*values, -1 if limit is None else limit))
            return [number for (number,) in rows]

    def count(self, filters: Filters) -> int:
        """Return how many dead letters there are.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = _where(filters)
        with self._telling():
            found = self._connection.execute(f"SELECT count(*) FROM letters WHERE {where}", values)  # noqa: S608 - our own names
            return int(found.fetchone()[0])

    def groups(self, filters: Filters, by: str) -> list[Group]:
        """Return how many dead letters have what in common, the largest group first.

        Args:
            filters: Which.
            by: A key of ``FIELDS``.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        where, values = _where(filters)
        column = FIELDS[by]
        query = (
            f"SELECT {column}, count(*), sum(replays > 0), max(dead_at) FROM letters WHERE {where} "  # noqa: S608 - our own names
            f"GROUP BY {column} ORDER BY count(*) DESC, {column}"
        )
        with self._telling():
            return [Group(*row) for row in self._connection.execute(query, values)]

    def source_of(self, dead_topic: str) -> tuple[str, str]:
        """Return the (topic, channel) that records of a dead topic tell; empty if there are none.

        Raises:
            DeadLetterStoreError: If the store cannot be read.
        """
        query = (
            "SELECT topic, channel FROM letters WHERE dead_topic = ? AND is_record AND channel <> '' LIMIT 1"
        )
        with self._telling():
            row = self._connection.execute(query, (dead_topic,)).fetchone()
        return row or ("", "")

    def mark_replayed(self, ids: Iterable[int], at: str) -> None:
        """Note that nsqd has confirmed the replay of some dead letters.

        Args:
            ids: Their numbers.
            at: When, RFC 3339 UTC.

        Raises:
            DeadLetterStoreError: If it is not noted.
        """
        statement = "UPDATE letters SET replays = replays + 1, replayed_at = ? WHERE id = ?"
        with self._telling(), self._connection:
            self._connection.executemany(statement, [(at, number) for number in ids])

    def remove(self, ids: Sequence[int]) -> int:
        """Delete dead letters for good, all or none, and return how many.

        Raises:
            DeadLetterStoreError: If they are not deleted.
        """
        with self._telling(), self._connection:
            numbers = [(number,) for number in ids]
            return self._connection.executemany("DELETE FROM letters WHERE id = ?", numbers).rowcount

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        is_empty = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        if application != _APPLICATION_ID and not is_empty:
            raise self._error("it is a database of something else: --store names another file")
        if version > _VERSION:
            raise self._error(f"a newer nsqkit wrote it (version {version}, not {_VERSION}): use that one")
        if is_empty:  # readers must not hold up the writer
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_SCHEMA)
        self._connection.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(str(error)) from error

    def _error(self, reason: str) -> DeadLetterStoreError:
        return DeadLetterStoreError(str(self.path), reason)


def _make(path: Path) -> None:
    """Make the file, which only its owner may read: it has whole messages in it."""
    try:
        if path.parent.name == FOLDER and not path.parent.exists():
            path.parent.mkdir()
            (path.parent / ".gitignore").write_text("*\n")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DeadLetterStoreError(str(path), f"it cannot be made: {error.strerror}") from None


def _where(filters: Filters) -> tuple[str, list[object]]:
    """Return filters as an SQL condition and its values."""
    parts, values = ["1"], list[object]()
    for each in filters.conditions:
        if each.is_whole:
            parts.append(f"{each.attribute} = ?")
            values.append(each.text)
        else:
            parts.append(f"instr(lower({each.attribute}), lower(?))")
            values.append(each.text)
    if filters.since is not None:
        parts.append("dead_at >= ?")
        values.append(filters.since)
    if filters.before is not None:
        parts.append("dead_at < ?")
        values.append(filters.before)
    if filters.ids:
        parts.append(f"id IN ({', '.join(str(int(number)) for number in filters.ids)})")
    if filters.is_fresh:
        parts.append("replays = 0")
    return " AND ".join(parts), values

"""The file that carries the embedded broker's messages over a clean restart, in a folder that it locks.

The broker writes the file when it stops, completely or not at all; only its owner can read it, and symbolic
links are not followed. Like nsqd, it saves every durable
topic and channel, whether it is paused, and its messages with their attempts; messages in flight or
deferred are due at once after the start. Unlike nsqd, it uses its own format, and a broker that is
killed leaves the file of its last clean stop.

Source:
    nsqd/nsqd.go (LoadMetadata, PersistMetadata), nsqd/channel.go (flush).
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.message import Message
from nsqkit.devbroker.topic import Topic
from nsqkit.errors import SettingsError
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.policy.peer_text import peer_text

FILE_NAME = "nsqkit-broker.dat"
_FORMAT = "nsqkit-broker 1"
_MESSAGE = struct.Struct(">qH16sI")

_Stored = tuple[Message, int]
"""A message and its attempts."""


class Storage:
    """The folder in which a broker saves its messages.

    Args:
        folder: An existing folder that no other broker uses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._lock: int | None = None

    def load(self, ledger: Ledger, *, now_s: float) -> None:
        """Lock the folder, and restore the saved messages into an empty ledger.

        Raises:
            SettingsError: If the folder is missing, another broker uses it, or its file cannot be read.
        """
        self._acquire()
        try:
            with open(self._path, "rb", opener=_open_regular) as file:
                _restore(file, ledger, now_s=now_s)
        except FileNotFoundError:
            pass
        except Exception as error:  # a corrupt file may raise anything
            self.release()
            why = error.strerror if isinstance(error, OSError) else f"it is corrupt: {peer_text(repr(error))}"
            raise SettingsError(
                f"data_path={self._folder}: {self._path.name} cannot be read: {why}; "
                "move the file away to start without messages"
            ) from error

    def save(self, ledger: Ledger) -> None:
        """Write the file for the next broker.

        Raises:
            OSError: If the file cannot be written.
        """
        unfinished = self._path.with_suffix(".tmp")
        unfinished.unlink(missing_ok=True)
        with open(unfinished, "xb", opener=_open_private) as file:
            file.writelines(_dump(ledger))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)

    def release(self) -> None:
        """Unlock the folder."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _acquire(self) -> None:
        try:
            self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise SettingsError(f"data_path={self._folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise SettingsError(f"data_path={self._folder}: another broker uses it") from error


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _open_regular(path: str, flags: int) -> int:
    opened = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return opened


def _dump(ledger: Ledger) -> Iterator[bytes]:
    topics = [topic for topic in ledger.topics.values() if not topic.ephemeral]
    head = {
        "format": _FORMAT,
        "published": ledger.published,
        "topics": [_topic_head(topic) for topic in topics],
    }
    yield orjson.dumps(head) + b"\n"
    for topic in topics:
        for message, attempts in chain(_backlog(topic), *map(_messages, _durable(topic))):
            yield _MESSAGE.pack(message.timestamp_ns, attempts, message.id, len(message.body))
            yield message.body


def _topic_head(topic: Topic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "paused": topic.paused,
        "messages": len(topic.backlog),
        "channels": [
            {"name": channel.name, "paused": channel.paused, "messages": sum(1 for _ in _messages(channel))}
            for channel in _durable(topic)
        ],
    }


def _durable(topic: Topic) -> Iterable[Channel]:
    return (channel for channel in topic.channels.values() if not channel.ephemeral)


def _backlog(topic: Topic) -> Iterator[_Stored]:
    return ((message, 0) for message in topic.backlog)


def _messages(channel: Channel) -> Iterator[_Stored]:
    copies = chain(channel.queued, channel.in_flight.values(), channel.deferred.values())
    return ((copy.message, copy.attempts) for copy in copies)


def _restore(file: BinaryIO, ledger: Ledger, *, now_s: float) -> None:
    head = orjson.loads(file.readline())
    if head["format"] != _FORMAT:
        raise ValueError(f"its format is {head['format']!r}, not {_FORMAT!r}")
    ledger.published = int(head["published"])
    for each in head["topics"]:
        topic = ledger.topic(_checked(each["name"], topic_problem))
        topic.paused = each["paused"]
        backlog = [message for message, _ in _read(file, each["messages"])]
        for one in each["channels"]:
            channel = ledger.channel(topic.name, _checked(one["name"], channel_problem), now_s=now_s)
            channel.pause(paused=one["paused"])
            for message, attempts in _read(file, one["messages"]):
                channel.restore(message, attempts)
        topic.backlog.extend(backlog)
        topic.fan_out(now_s=now_s)
    if file.read(1):
        raise ValueError("it has data after its end")


def _checked(name: str, problem: Callable[[str], str | None]) -> str:
    if found := problem(name):
        raise ValueError(found)
    return name


def _read(file: BinaryIO, count: int) -> Iterator[_Stored]:
    for _ in range(count):
        timestamp_ns, attempts, message_id, size = _MESSAGE.unpack(_exactly(file, _MESSAGE.size))
        yield Message(message_id, timestamp_ns, _exactly(file, size), 0.0), attempts


def _exactly(file: BinaryIO, size: int) -> bytes:
    left = os.fstat(file.fileno()).st_size - file.tell()
    if size > left:  # read would reserve memory for all of it
        raise ValueError("it ends too early")
    return file.read(size)

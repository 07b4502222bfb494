"""Letters: writes the records that NSQ cannot take to the store of ``nsqkit dead``, synced to the disk."""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Final

from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.bodies import RefusedError
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import Route
from nsqkit.bridge.wrapping import texts
from nsqkit.dead_letters.parse import CollectedLetter
from nsqkit.dead_letters.store import Store
from nsqkit.events import rfc3339
from nsqkit.policy.redaction import redact
from nsqkit.version import __version__

Refused = list[tuple[Record, RefusedError]]
_DIGEST_LENGTH: Final = 16
_LONGEST_DETAIL: Final = 2000


class Letters:
    """The store, opened for each write: ``nsqkit dead`` may replace it.

    Args:
        route: The route.
        path: The store's file; it is created if it is missing.
    """

    def __init__(self, route: Route, path: str) -> None:
        self._route = route
        self._path = Path(path)

    async def add(self, refused: Refused) -> None:
        """Store records, all or none; they are on the disk when it returns.

        Args:
            refused: n records with the reasons why NSQ cannot take them.

        Raises:
            DeadLetterStoreError: If they are not stored.
        """
        await asyncio.to_thread(self._add, refused)

    def _add(self, refused: Refused) -> None:
        with Store(self._path, make=True) as store:
            letters = [(record, self._letter(record, error)) for record, error in refused]
            new = [letter for record, letter in letters if not (record.is_redelivered and store.has(letter))]
            store.add(new)

    def _letter(self, record: Record, error: RefusedError) -> CollectedLetter:
        """Return a record as a dead letter; the same one again if it is read again from the same place.

        A place in Kafka is for good. A delivery tag is not: a redelivery by RabbitMQ is known by its bytes.
        """
        route, now_ns = self._route, time.time_ns()
        is_placed = isinstance(route.source, KafkaAddress)
        place = f"{record.origin}@{record.position}" if is_placed else record.origin
        headers = texts(record.headers)
        return CollectedLetter(
            dead_topic=route.source.label,
            nsqd=_server(route),
            dead_message_id=f"{place}-{_digest(record)}",
            dead_timestamp_ns=0 if is_placed else now_ns,
            is_record=True,
            body=record.body or b"",
            reason=str(error.reason),
            detail=_detail(error, headers),
            error_type="",
            stack="",
            attempts=1,
            message_id=f"{record.origin}@{record.position}",
            published_at="",
            dead_at=rfc3339.from_ns(now_ns - now_ns % 1000),
            topic=route.topic,
            channel="",
            handler=route.name,
            event_type=headers.get("ce_type")
            or headers.get("cloudEvents_type")
            or headers.get("cloudEvents:type", ""),
            event_id=headers.get("ce_id") or headers.get("cloudEvents_id") or headers.get("cloudEvents:id"),
            traceparent=headers.get("traceparent"),
            nsqkit_version=__version__,
        )


def _detail(error: RefusedError, headers: object) -> str:
    """Return the reason and the headers, which a message of NSQ could not have."""
    return redact(f"{error.detail}; headers {headers}" if headers else error.detail, limit=_LONGEST_DETAIL)


def _server(route: Route) -> str:
    end = route.other
    return ",".join(end.servers) if isinstance(end, KafkaAddress) else f"{end.host}:{end.port}"


def _digest(record: Record) -> str:
    digest = hashlib.sha256(record.body or b"")
    for name, value in record.headers:
        digest.update(name.encode() + b"\0" + value + b"\0")
    return digest.hexdigest()[:_DIGEST_LENGTH]

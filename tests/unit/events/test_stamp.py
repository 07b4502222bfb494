"""Stamps: every event has an id of its own, and the time at which it was made."""

import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from nsqkit.events.stamp import stamp


@pytest.mark.parametrize(
    "random",
    [
        pytest.param(lambda n: b"\x00" * n, id="all bits clear"),
        pytest.param(lambda n: b"\xff" * n, id="all bits set"),
        pytest.param(lambda n: bytes(range(n)), id="all bytes differ"),
        pytest.param(os.urandom, id="random"),
    ],
)
def test_an_id_is_a_random_uuid_whatever_the_bits_are(
    random: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", random)
    event_id = stamp("shop").event_id
    found = uuid.UUID(event_id)
    assert (str(found), found.version, found.variant) == (event_id, 4, uuid.RFC_4122)


def test_an_id_keeps_every_random_bit_that_a_uuid_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    random = os.urandom(16)
    monkeypatch.setattr(os, "urandom", lambda _: random)
    assert uuid.UUID(stamp("shop").event_id) == uuid.UUID(bytes=random, version=4)


def test_no_two_ids_are_alike() -> None:
    assert len({stamp("shop").event_id for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("time_ns", "written"),
    [
        pytest.param(0, "1970-01-01T00:00:00.000000Z", id="six digits even where all are 0"),
        pytest.param(1_714_557_600_000_001_999, "2024-05-01T10:00:00.000001Z", id="cut off at microseconds"),
        pytest.param(1_714_557_599_999_999_999, "2024-05-01T09:59:59.999999Z", id="the end of a second"),
    ],
)
def test_the_time_is_rfc_3339_in_utc(time_ns: int, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: time_ns)
    assert stamp("shop").time == written


def test_the_time_is_now() -> None:
    before = datetime.now(UTC)
    assert before <= datetime.fromisoformat(stamp("shop").time) <= datetime.now(UTC)

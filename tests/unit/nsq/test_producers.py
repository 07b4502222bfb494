"""Producers: a topic without an nsqd is reported once, with similar topics that have one."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.producers import Producers
from tests.unit.nsq.fake_http import Answer, FakeHttp
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import PATIENCE_S, until

NODES: Answer = (200, {"producers": [{"topics": ["orders", "bills"]}]})


class Reported:
    """The changes and lines of a Producers."""

    def __init__(self, *lookupd: str) -> None:
        self.log = RecordingLog()
        self.changes: list[tuple[str, bool]] = []
        self.producers = Producers(
            Lookup(lookupd) if lookupd else None,
            timeout_s=PATIENCE_S,
            on_change=lambda *change: self.changes.append(change),
            log=self.log,
        )

    async def lines(self, count: int) -> list[tuple[str, object]]:
        """Return the event and the similar topics of each line, once there are so many."""
        await until(lambda: len(self.log.lines) == count)
        return [(event, fields.get("similar")) for _, event, fields in self.log.lines]


@pytest.fixture
async def nodes() -> AsyncIterator[FakeHttp]:
    async with FakeHttp(NODES) as server:
        yield server


async def test_changes_are_logged_once(nodes: FakeHttp) -> None:
    reported = Reported(nodes.address)
    assert reported.producers.has_producer("ordres") is None
    for _ in range(3):
        reported.producers.found("ordres", False)
    assert await reported.lines(1) == [("topic_without_producer", ["orders"])]
    assert reported.log.lines[0][0] == "warning"
    for _ in range(3):
        reported.producers.found("ordres", True)
    assert (await reported.lines(2))[1] == ("topic_has_producer", None)
    assert reported.changes == [("ordres", False), ("ordres", True)]
    assert reported.producers.has_producer("ordres")


async def test_a_topic_that_has_a_producer_from_the_start_is_not_logged(nodes: FakeHttp) -> None:
    reported = Reported(nodes.address)
    reported.producers.found("orders", True)
    assert reported.changes == [("orders", True)]
    assert reported.log.lines == []
    assert nodes.requests == []


@pytest.mark.parametrize("lookupd", [(), ("127.0.0.1:1",)], ids=["none", "one that is down"])
async def test_without_an_answer_no_topic_is_named(lookupd: tuple[str, ...]) -> None:
    reported = Reported(*lookupd)
    reported.producers.found("orders", False)
    assert await reported.lines(1) == [("topic_without_producer", [])]


async def test_one_that_appears_before_the_warning_ends_it(nodes: FakeHttp) -> None:
    reported = Reported(nodes.address)
    reported.producers.found("ordres", False)
    reported.producers.found("ordres", True)
    (warning,) = reported.producers._warnings
    await warning
    assert await reported.lines(1) == [("topic_has_producer", None)]


async def test_close_ends_a_warning_that_waits() -> None:
    async with FakeHttp(b"") as silent:
        reported = Reported(silent.address)
        reported.producers.found("ordres", False)
        (warning,) = reported.producers._warnings
        await until(lambda: silent.requests)
        closing = asyncio.create_task(reported.producers.close())
        silent.hang_up()
        await closing
        assert warning.cancelled()
    assert reported.log.lines == []

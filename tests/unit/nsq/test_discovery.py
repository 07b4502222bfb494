"""Which nsqd are wanted, and what is logged of registrations that are wrong."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError
from nsqkit.nsq import discovery as module
from nsqkit.nsq.discovery import Discovery, Endpoints, Source
from nsqkit.nsq.lookup import Lookup, LookupResult, Node
from nsqkit.nsq.topic_channels import TopicAbsentError
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import until


class ScriptedLookup(Lookup):
    """Answers what it is told to."""

    def __init__(self) -> None:
        super().__init__(["127.0.0.1:4161"])
        self.result = LookupResult(frozenset(), ())
        self.asked = 0
        self.known: Collection[str] = ()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def producers(self, topic: str, *, known: Collection[str] = frozenset()) -> LookupResult:
        self.asked += 1
        self.known = known
        await self.may_answer.wait()
        return self.result


def nodes(*addresses: str, faults: tuple[str, ...] = ()) -> LookupResult:
    return LookupResult(frozenset(Node(address, "") for address in addresses), (), faults)


class Found:
    """A discovery of one topic, and what it has logged."""

    def __init__(self) -> None:
        self.log = RecordingLog()
        self.lookup = ScriptedLookup()
        self.changes = 0
        self.discovery = Discovery(
            ("orders",),
            Endpoints(lookup=self.lookup, poll_s=3600.0),
            on_change=self._changed,
            log=self.log,
            background=Background(self.log),
        )

    def _changed(self) -> None:
        self.changes += 1

    async def poll(self, result: LookupResult) -> None:
        self.lookup.result = result
        before = self.changes
        if self.discovery.poller is None:
            self.discovery.start()
        else:
            self.discovery.poll_now()
        await until(lambda: self.changes > before)

    @property
    def addresses(self) -> set[str]:
        return {source.address for source in self.discovery.wanted}


@pytest.fixture
async def found() -> AsyncIterator[Found]:
    made = Found()
    yield made
    made.discovery.stop()
    if made.discovery.poller is not None:
        await made.discovery.poller


async def test_faulty_registrations_are_logged_once_while_they_last(found: Found) -> None:
    await found.poll(nodes("a:1", faults=("one", "two")))
    await found.poll(nodes("a:1", faults=("two", "one")))
    await found.poll(nodes("a:1", faults=("two", "three")))
    await found.poll(nodes("a:1"))
    await found.poll(nodes("a:1", faults=("one",)))
    lines = found.log.of("registrations_faulty")
    assert [line["error"] for line in lines] == ["one; two", "three", "one"]
    assert found.addresses == {"a:1"}


async def test_of_many_faults_the_line_names_a_few(found: Found) -> None:
    await found.poll(nodes(faults=tuple(f"fault {n}" for n in range(2000))))
    (line,) = found.log.of("registrations_faulty")
    assert str(line["error"]).endswith("; and 1995 more")
    assert len(str(line)) < 300


async def test_what_changes_at_each_poll_costs_a_few_lines(found: Found) -> None:
    """A hostile nsqlookupd answers something else each time, and is asked every second after a loss."""
    for number in range(20):
        await found.poll(LookupResult(frozenset(), (f"{number} failed",), (f"{number} is wrong",)))
    assert [line["error"] for line in found.log.of("nsqlookupd_failed")] == [f"{n} failed" for n in range(3)]
    assert len(found.log.of("registrations_faulty")) == 3
    assert found.discovery.problems == ("19 failed",)


async def test_too_many_nsqd_are_cut_and_those_that_are_known_stay(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_NSQD", 3)
    await found.poll(nodes("y:1", "z:1"))
    for _ in range(2):
        await found.poll(nodes("a:1", "b:1", "y:1", "z:1"))
    assert found.addresses == {"a:1", "y:1", "z:1"}
    (line,) = found.log.of("too_many_nsqd")
    assert (line["found"], line["most"]) == (4, 3)
    await found.poll(nodes("a:1", "b:1", "c:1"))
    assert found.addresses == {"a:1", "b:1", "c:1"}


async def test_what_was_not_read_counts_and_known_nsqd_are_read_first(found: Found) -> None:
    await found.poll(nodes("a:1", "b:1"))
    await found.poll(LookupResult(frozenset({Node("a:1", "")}), (), (), unread=1000))
    assert found.lookup.known == {"a:1", "b:1"}
    assert found.addresses == {"a:1"}
    (line,) = found.log.of("too_many_nsqd")
    assert line["found"] == 1001


async def test_callers_of_the_same_time_share_a_poll_that_began_after_their_loss(found: Found) -> None:
    source = Source("a:1", "orders")
    await found.poll(nodes("a:1"))
    now_s = asyncio.get_running_loop().time
    found.lookup.may_answer.clear()
    asked = found.lookup.asked
    old = asyncio.create_task(found.discovery.check(source, since_s=now_s()))
    await until(lambda: found.lookup.asked == asked + 1)
    lost_s = now_s()
    checks = [asyncio.create_task(found.discovery.check(source, since_s=lost_s)) for _ in range(100)]
    found.lookup.may_answer.set()
    await asyncio.gather(old, *checks)
    assert found.lookup.asked == asked + 2


class TestAbsent:
    """An nsqd says that it does not have a topic, though nsqlookupd names it."""

    SOURCE = Source("a:1", "orders")
    ABSENT = TopicAbsentError("a:2", "it does not have it")

    async def test_it_is_logged_once_and_counts_as_if_nsqlookupd_did_not_name_it(self, found: Found) -> None:
        await found.poll(nodes("a:1"))
        for _ in range(2):
            found.discovery.failed(self.SOURCE, self.ABSENT)
            await found.poll(nodes("a:1"))
            assert found.discovery.absent == {self.SOURCE} == found.discovery.wanted
            assert found.discovery.has_producer is False
        (line,) = found.log.of("topic_absent")
        assert (line["nsqd"], line["topic"]) == ("a:1", "orders")

    async def test_another_nsqd_may_have_it(self, found: Found) -> None:
        await found.poll(nodes("a:1", "b:1"))
        found.discovery.failed(self.SOURCE, self.ABSENT)
        assert found.discovery.has_producer

    async def test_it_ends_when_the_source_is_subscribed(self, found: Found) -> None:
        await found.poll(nodes("a:1"))
        found.discovery.failed(self.SOURCE, self.ABSENT)
        found.discovery.connected(self.SOURCE)
        assert not found.discovery.absent
        assert found.discovery.has_producer

    async def test_it_ends_when_the_source_fails_otherwise(self, found: Found) -> None:
        await found.poll(nodes("a:1"))
        found.discovery.failed(self.SOURCE, self.ABSENT)
        found.discovery.failed(self.SOURCE, ConnectionLostError("a:1", "refused"))
        assert not found.discovery.absent

    async def test_it_ends_when_nsqlookupd_does_not_name_it_any_more(self, found: Found) -> None:
        for _ in range(2):
            await found.poll(nodes("a:1"))
            assert not found.discovery.absent
            found.discovery.failed(self.SOURCE, self.ABSENT)
            await found.poll(nodes())
        assert len(found.log.of("topic_absent")) == 2

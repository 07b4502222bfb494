"""One handler's intake over several nsqd: who is connected to, what RDY each gets, and how it ends."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from types import FrameType
from typing import Any

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.nsq import connection, dials, discovery
from nsqkit.nsq import keepers as module
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.dial import dial
from nsqkit.nsq.discovery import Endpoints, Source
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.lookup import Lookup, LookupResult, Node
from nsqkit.nsq.message import Message, one_by_one
from nsqkit.nsq.stream import Stream
from nsqkit.nsq.topic_channels import TopicChannels
from nsqkit.policy.connection_state import ConnectionState
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import Exponential
from tests.unit.nsq.fake_nsqd import ID, FakeNsqd, Peer, message_frame
from tests.waiting import PATIENCE_S, turns, until

FIN = b"FIN " + ID + b"\n"
NO_NODES = LookupResult(frozenset(), ())


class Log:
    """Keeps the lines, and tells when one comes."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []
        self._grown = asyncio.Event()

    def info(self, event: str, /, **fields: object) -> None:
        self._add("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._add("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._add("error", event, fields)

    def of(self, event: str) -> list[dict[str, object]]:
        return [fields for _, name, fields in self.lines if name == event]

    async def wait_for(self, event: str, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.of(event)) < count:
                self._grown.clear()
                await self._grown.wait()

    def _add(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.lines.append((level, event, fields))
        self._grown.set()


class ScriptedLookup(Lookup):
    """Answers what it is told to, and tells when it is asked."""

    def __init__(self, **results: LookupResult) -> None:
        super().__init__(["127.0.0.1:4161", "127.0.0.1:4162"])
        self.results = results
        self.asked = 0
        self._grown = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def producers(self, topic: str, *, known: Collection[str] = frozenset()) -> LookupResult:
        self.asked += 1
        self._grown.set()
        await self.may_answer.wait()
        return self.results.get(topic.replace(".", "_"), NO_NODES)

    async def wait_asked(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.asked < count:
                self._grown.clear()
                await self._grown.wait()


def found(*fakes: FakeNsqd, failures: tuple[str, ...] = ()) -> LookupResult:
    return LookupResult(frozenset(Node(fake.address, "127.0.0.1:4151") for fake in fakes), failures)


def nobody(count: int) -> LookupResult:
    """Return nodes at which nobody listens."""
    return LookupResult(
        frozenset(Node(f"127.0.{1 + n // 200}.{1 + n % 200}:1", "") for n in range(count)), ()
    )


class Dead:
    """Makes the nsqd of :func:`nobody` refuse at once, or stay silent, and counts the attempts by address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_silent: bool = False) -> None:
        monkeypatch.setattr(module, "_retry_in_s", lambda *_: 3600.0)
        monkeypatch.setattr(connection, "dial", self._dial)
        self.dialled: Counter[str] = Counter()
        self._is_silent = is_silent
        self._grown = asyncio.Event()

    async def wait_dialled(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.dialled) < count:
                self._grown.clear()
                await self._grown.wait()

    async def _dial(self, host: str, port: int, timeout_s: float) -> Stream:
        if port != 1:
            return await dial(host, port, timeout_s)
        self.dialled[host] += 1
        self._grown.set()
        if self._is_silent:
            await asyncio.Event().wait()
        raise ConnectionRefusedError("refused")


async def calls(work: Awaitable[object]) -> int:
    """Return how many calls of Python functions some work makes."""
    count = 0

    def on_event(_frame: FrameType, kind: str, _argument: object) -> None:
        nonlocal count
        count += kind in {"call", "c_call"}

    sys.setprofile(on_event)
    try:
        await work
    finally:
        sys.setprofile(None)
    return count


class Intake:
    """Makes consumers that are closed at the end of the test."""

    def __init__(self) -> None:
        self.log = Log()
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self._made: list[Consumer] = []

    def __call__(
        self,
        *addresses: str,
        topics: tuple[str, ...] = ("orders",),
        lookup: Lookup | None = None,
        max_in_flight: int = 10,
        is_fixed: bool = True,
        poll_s: float = 60.0,
        on_message: Callable[[Message], None] | None = None,
        options: ConnectionOptions = ConnectionOptions(),  # noqa: B008 - frozen
        **callbacks: Any,
    ) -> Consumer:
        consumer = Consumer(
            ConsumerOptions(
                topics=topics,
                channel="stock",
                connection=options,
                max_in_flight=max_in_flight,
                is_fixed=is_fixed,
            ),
            Endpoints(addresses, lookup, poll_s),
            on_messages=one_by_one(on_message or self.messages.put_nowait),
            on_settle_failure=lambda _: None,
            log=self.log,
            **callbacks,
        )
        self._made.append(consumer)
        return consumer

    async def close(self) -> None:
        for consumer in self._made:
            await consumer.close(0.0)


@pytest.fixture
async def intake() -> AsyncIterator[Intake]:
    made = Intake()
    yield made
    await made.close()
    left = [task for task in asyncio.all_tasks() if "nsqkit" in repr(task.get_coro())]
    assert not left


@pytest.fixture
async def other() -> AsyncIterator[FakeNsqd]:
    async with FakeNsqd() as fake:
        yield fake


@pytest.fixture
async def broker() -> AsyncIterator[DevBroker]:
    broker = DevBroker(0, 0)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again almost at once."""
    monkeypatch.setattr(module, "_RECONNECT", Exponential(base_s=0.001, max_s=0.002))
    monkeypatch.setattr(module, "_REFUSED_RETRY_S", 0.001)
    monkeypatch.setattr(discovery, "_FIRST_POLL_S", 0.001)
    for line in ("_PROMPT", "_PATIENT"):
        monkeypatch.setattr(dials, line, RateLimit(per_s=1e6))


async def ready(consumer: Consumer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await consumer.wait_ready()


async def nothing_to_do() -> None:
    """Let everything run that is already due."""
    await turns(20)


class TestSigns:
    """When a subscription last showed that it is served."""

    async def test_each_read_is_one(self, nsqd: FakeNsqd, intake: Intake) -> None:
        consumer = intake(nsqd.address)
        assert consumer.signs_s() == {}
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await ready(consumer)
        source = Source(nsqd.address, "orders")
        first_s = consumer.signs_s()[source]
        peer.respond(b"_heartbeat_")
        later_s = await until(lambda: consumer.signs_s()[source], lambda sign_s: sign_s > first_s)
        assert later_s <= time.monotonic()

    async def test_each_attempt_is_one_and_after_the_end_there_are_none(self, intake: Intake) -> None:
        consumer = intake("127.0.0.1:1")
        consumer.start()
        signs_s: set[float] = set()

        def count() -> int:
            signs_s.update(consumer.signs_s().values())
            return len(signs_s)

        await until(count, lambda found: found >= 3)
        assert max(signs_s) <= time.monotonic()
        await consumer.close(0.0)
        assert consumer.signs_s() == {}


class TestRooms:
    """What nsqd may send on each subscription."""

    async def test_it_is_rdy_without_the_messages_in_flight(self, nsqd: FakeNsqd, intake: Intake) -> None:
        nodes = frozenset({Node(nsqd.address, "a:4151")})
        consumer = intake(lookup=ScriptedLookup(orders=LookupResult(nodes, ())), max_in_flight=3)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await ready(consumer)
        (before,) = consumer.rooms().values()
        assert (before.received, before.free) == (0, 3)
        peer.send(message_frame())
        message = await intake.messages.get()
        room = consumer.rooms()["a:4151", "orders"]
        assert (room.received, room.free) == (1, 2)
        assert room.subscription is before.subscription
        assert message.finish()
        assert consumer.rooms()["a:4151", "orders"].free == 3

    @pytest.mark.parametrize("http", ["", "a:4151"], ids=["it is not known", "two nsqd have the same"])
    async def test_a_subscription_without_an_http_address_to_ask_has_none(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake, http: str
    ) -> None:
        nodes = frozenset({Node(nsqd.address, http), Node(other.address, http)})
        consumer = intake(lookup=ScriptedLookup(orders=LookupResult(nodes, ())))
        consumer.start()
        for fake in (nsqd, other):
            await fake.serve("orders")
        await ready(consumer)
        assert len(consumer.connections) == 2
        assert consumer.rooms() == {}


class TestConnections:
    async def test_every_topic_is_subscribed_on_every_nsqd(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        topics = ("orders", "orders.stock.retry")
        consumer = intake(nsqd.address, other.address, topics=topics)
        consumer.start()
        assert not consumer.ready
        await nsqd.serve(*topics)
        assert not consumer.ready
        assert not consumer.subscribed_to(other.address)
        await other.serve(*topics)
        await ready(consumer)
        assert consumer.problems == ()
        assert set(consumer.connections) == {
            (fake.address, topic) for fake in (nsqd, other) for topic in topics
        }
        assert consumer.subscribed_to(nsqd.address)
        assert not consumer.subscribed_to("127.0.0.1:1")

    async def test_the_state_and_rdy_of_each_nsqd_are_known(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        """Ten messages are shared by two nsqd, and each topic beside the handler's own gets one more."""
        topics = ("orders", "orders.stock.retry")
        lookup = ScriptedLookup(orders=found(nsqd, other))
        consumer = intake(nsqd.address, lookup=lookup, topics=topics)
        assert (consumer.states, consumer.rdy) == ({nsqd.address: ConnectionState.DISCONNECTED}, {})
        consumer.start()
        await nsqd.serve(*topics)
        await lookup.wait_asked(1)
        peers = await other.serve(*topics)
        await ready(consumer)
        both = {nsqd.address, other.address}
        assert consumer.states == dict.fromkeys(both, ConnectionState.SUBSCRIBED)
        assert consumer.rdy == dict.fromkeys(both, 6)
        lookup.results = {"orders": found(nsqd)}
        consumer.poll_now()
        await lookup.wait_asked(lookup.asked + 1)
        assert consumer.states == dict.fromkeys(both, ConnectionState.SUBSCRIBED), "it still works"
        for peer in peers.values():
            await peer.close()
        await until(
            lambda: consumer.states, lambda states: states == {nsqd.address: ConnectionState.SUBSCRIBED}
        )
        assert consumer.rdy == {nsqd.address: 11}

    async def test_an_nsqd_named_twice_is_connected_to_once(self, nsqd: FakeNsqd, intake: Intake) -> None:
        """Pynsq can end up with two connections to one nsqd, of which one is managed by nobody."""
        consumer = intake(nsqd.address, nsqd.address, lookup=ScriptedLookup(orders=found(nsqd)))
        consumer.start()
        await nsqd.serve("orders")
        await ready(consumer)
        consumer.poll_now()
        await nothing_to_do()
        assert len(consumer.connections) == 1
        assert nsqd.is_idle

    async def test_start_again_does_nothing(self, nsqd: FakeNsqd, intake: Intake) -> None:
        consumer = intake(nsqd.address)
        consumer.start()
        consumer.start()
        await nsqd.serve("orders")
        await ready(consumer)
        assert nsqd.is_idle

    def test_an_address_that_is_none_is_refused(self, intake: Intake) -> None:
        with pytest.raises(SettingsError):
            intake("nsqd.example")

    async def test_a_lost_connection_is_made_anew_and_told_once(self, nsqd: FakeNsqd, intake: Intake) -> None:
        consumer = intake(nsqd.address)
        consumer.start()
        peers = await nsqd.serve("orders")
        await ready(consumer)
        await peers["orders"].close()
        await intake.log.wait_for("nsqd_unreachable")
        peer = (await nsqd.serve("orders"))["orders"]
        await peer.expect(b"RDY 10\n")
        assert consumer.ready
        assert [name for _, name, _ in intake.log.lines] == [
            "nsqd_connected",
            "nsqd_unreachable",
            "nsqd_connected",
        ]
        told = intake.log.of("nsqd_unreachable")[0]
        assert told["nsqd"] == nsqd.address
        assert nsqd.address in str(told["error"])
        assert isinstance(told["retry_in_s"], float)

    async def test_an_nsqd_that_ends_each_connection_is_waited_for_longer_and_longer(
        self, nsqd: FakeNsqd, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each connection works for a moment; three lines are logged, whatever the number of attempts."""
        attempts: list[int] = []

        def retry_in_s(_: NsqkitError, attempt: int) -> float:
            attempts.append(attempt)
            return 0.0

        monkeypatch.setattr(module, "_retry_in_s", retry_in_s)
        consumer = intake(nsqd.address)
        consumer.start()
        for _ in range(20):
            await (await nsqd.serve("orders"))["orders"].close()
        await until(lambda: attempts, lambda seen: seen == list(range(1, 21)))
        names = [name for _, name, _ in intake.log.lines]
        assert names == ["nsqd_connected", "nsqd_unreachable", "nsqd_connected"]
        monkeypatch.setattr(module, "_STABLE_S", 0.0)
        peer = (await nsqd.serve("orders"))["orders"]
        await intake.log.wait_for("nsqd_connected", 3)
        await peer.close()
        await intake.log.wait_for("nsqd_unreachable", 2)
        assert attempts[20:] == [1]

    async def test_an_nsqd_that_starts_late_is_found_and_its_absence_told_once(
        self, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempts: asyncio.Queue[int] = asyncio.Queue()

        def retry_in_s(_: NsqkitError, attempt: int) -> float:
            attempts.put_nowait(attempt)
            return 0.0

        monkeypatch.setattr(module, "_retry_in_s", retry_in_s)
        async with FakeNsqd() as late:
            pass
        consumer = intake(late.address, topics=("orders", "orders.stock.retry"))
        consumer.start()
        while await attempts.get() < 10:
            pass
        assert len(intake.log.of("nsqd_unreachable")) == 1
        assert consumer.problems == (f"nsqd {late.address}: Connection refused",)
        async with FakeNsqd(port=late.port) as late:
            await late.serve("orders", "orders.stock.retry")
            await ready(consumer)
            await intake.close()

    async def test_a_refusal_is_a_problem_and_told_once_and_tried_again(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        consumer = intake(nsqd.address)
        consumer.start()
        for _ in range(3):
            peer = await nsqd.accept()
            await peer.shake_hands()
            await peer.command()
            peer.refuse(b"E_SUB_FAILED SUB failed")
            await peer.expect_end()
        assert consumer.problems == (f"nsqd {nsqd.address} refused: E_SUB_FAILED SUB failed",)
        assert [(level, name) for level, name, _ in intake.log.lines] == [("error", "nsqd_refused")]
        await nsqd.serve("orders")
        await ready(consumer)

    async def test_an_nsqd_that_does_not_answer_sub_is_tried_again(
        self, nsqd: FakeNsqd, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its heartbeats would keep the connection for ever."""
        monkeypatch.setattr(module, "_SUBSCRIBE_S", 0.04)
        consumer = intake(nsqd.address)
        consumer.start()
        for _ in range(2):
            peer = await nsqd.accept()
            await peer.shake_hands()
            await peer.expect(b"SUB orders stock\n")
            await peer.expect_end()
        assert consumer.problems == (f"nsqd {nsqd.address}: did not answer SUB for 0.04 s",)

    async def test_messages_of_every_connection_are_handed_on(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        consumer = intake(nsqd.address, other.address)
        consumer.start()
        for fake in (nsqd, other):
            (await fake.serve("orders"))["orders"].send(message_frame())
        got = {(await intake.messages.get()).address for _ in range(2)}
        assert got == {nsqd.address, other.address}


async def test_the_http_address_of_each_nsqd_is_that_of_its_endpoint() -> None:
    consumer = Consumer(
        ConsumerOptions(topics=("orders",), channel="stock", connection=ConnectionOptions(), max_in_flight=1),
        Endpoints(("a:4150", "b:4150"), http={"a:4150": "a:4151"}),
        on_messages=lambda _: None,
        on_settle_failure=lambda _: None,
        log=Log(),
    )
    assert consumer.http_address("a:4150") == "a:4151"
    assert consumer.http_address("b:4150") is None


async def test_the_http_addresses_of_nsqd_that_are_subscribed(nsqd: FakeNsqd, intake: Intake) -> None:
    nodes = frozenset({Node(nsqd.address, "a:4151"), Node("127.0.0.1:1", "b:4151"), Node("127.0.0.1:2", "")})
    consumer = intake(lookup=ScriptedLookup(orders=LookupResult(nodes, ())))
    consumer.start()
    await nsqd.serve("orders")
    await intake.log.wait_for("nsqd_connected")
    assert consumer.http_addresses == {"a:4151", "b:4151"}
    assert consumer.live_http_addresses == {"a:4151"}


class TestReady:
    async def test_the_whole_of_max_in_flight_is_used(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        """Pynsq gives each of two connections 5 // 2, and loses the remainder."""
        consumer = intake(nsqd.address, other.address, max_in_flight=5)
        consumer.start()
        first = (await nsqd.serve("orders"))["orders"]
        await first.expect(b"RDY 5\n")
        second = (await other.serve("orders"))["orders"]
        await first.expect(b"RDY 3\n")
        await second.expect(b"RDY 2\n")
        await second.close()
        await first.expect(b"RDY 5\n")

    async def test_rdy_follows_what_is_held(self, nsqd: FakeNsqd, intake: Intake) -> None:
        intake(nsqd.address, is_fixed=False).start()
        peer = (await nsqd.serve("orders"))["orders"]
        await peer.expect(b"RDY 1\n")
        peer.send(message_frame())
        held = await intake.messages.get()
        await peer.expect(b"RDY 2\n")
        assert held.finish()
        await peer.expect(b"RDY 1\n", FIN)

    async def test_a_forgotten_message_is_held_no_more(self, nsqd: FakeNsqd, intake: Intake) -> None:
        intake(nsqd.address, is_fixed=False).start()
        peer = (await nsqd.serve("orders"))["orders"]
        await peer.expect(b"RDY 1\n")
        peer.send(message_frame())
        held = await intake.messages.get()
        await peer.expect(b"RDY 2\n")
        held.forget()
        await peer.expect(b"RDY 1\n")

    async def test_a_trial_lets_one_more_message_come_in_total(self, nsqd: FakeNsqd, intake: Intake) -> None:
        topics = ("orders", "orders.stock.retry")
        consumer = intake(nsqd.address, topics=topics)
        consumer.pause()
        consumer.start()
        peers = await nsqd.serve(*topics)
        await ready(consumer)
        consumer.trial()
        first, second = (peers[topic] for topic in topics)
        if consumer.connections[0].topic != "orders":
            first, second = second, first
        await first.expect(b"RDY 1\n", b"RDY 0\n")
        await second.expect(b"RDY 1\n", b"RDY 0\n")
        await first.expect(b"RDY 1\n")
        first.send(message_frame())
        held = await intake.messages.get()
        assert held.finish()
        await first.expect(b"RDY 0\n", FIN)

    async def test_max_in_flight_can_be_lowered_and_raised(self, nsqd: FakeNsqd, intake: Intake) -> None:
        consumer = intake(nsqd.address)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await peer.expect(b"RDY 10\n")
        await ready(consumer)
        for count in (4, 0, 10):
            consumer.set_max_in_flight(count)
            await peer.expect(b"RDY %d\n" % count)

    async def test_resume_restores_ready_while_messages_are_in_flight(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        """Pynsq leaves such a connection at RDY 0 for ever."""
        consumer = intake(nsqd.address)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await peer.expect(b"RDY 10\n")
        peer.send(message_frame())
        held = await intake.messages.get()
        consumer.pause()
        await peer.expect(b"RDY 0\n")
        consumer.resume()
        await peer.expect(b"RDY 10\n")
        assert held.finish()
        await peer.expect(FIN)

    async def test_a_pause_holds_for_connections_made_meanwhile(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        consumer = intake(nsqd.address, other.address)
        consumer.pause()
        consumer.start()
        first = (await nsqd.serve("orders"))["orders"]
        second = (await other.serve("orders"))["orders"]
        await ready(consumer)
        consumer.resume()
        await first.expect(b"RDY 5\n")
        await second.expect(b"RDY 5\n")

    async def test_too_little_for_all_connections_goes_round(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        consumer = intake(nsqd.address, other.address, max_in_flight=1)
        consumer.start()
        first = (await nsqd.serve("orders"))["orders"]
        await first.expect(b"RDY 1\n")
        second = (await other.serve("orders"))["orders"]
        for _ in range(3):
            await first.expect(b"RDY 0\n")
            await second.expect(b"RDY 1\n", b"RDY 0\n")
            await first.expect(b"RDY 1\n")

    async def test_a_connection_keeps_its_part_while_a_message_is_in_flight(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        held, first, second = await self._busy(intake, nsqd, other)
        await first.expect(b"RDY 0\n")
        for _ in range(50):
            second.respond(b"_heartbeat_")
            await second.expect(b"NOP\n")
        assert held.finish()
        await first.expect(FIN, b"RDY 1\n")
        await second.expect(b"RDY 1\n")

    async def _busy(self, intake: Intake, nsqd: FakeNsqd, other: FakeNsqd) -> tuple[Message, Peer, Peer]:
        intake(nsqd.address, other.address, max_in_flight=1).start()
        first = (await nsqd.serve("orders"))["orders"]
        await first.expect(b"RDY 1\n")
        first.send(message_frame())
        held = await intake.messages.get()
        return held, first, (await other.serve("orders"))["orders"]


class TestLookup:
    async def test_the_retry_topic_is_subscribed_where_the_source_is_and_where_it_is_listed(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        topics = ("orders", "orders.stock.retry")
        lookup = ScriptedLookup(orders=found(nsqd), orders_stock_retry=found(other))
        consumer = intake(topics=topics, lookup=lookup)
        consumer.start()
        await nsqd.serve(*topics)
        await other.serve(topics[1])
        await ready(consumer)
        assert set(consumer.connections) == {
            (nsqd.address, topics[0]),
            (nsqd.address, topics[1]),
            (other.address, topics[1]),
        }

    async def test_a_topic_born_after_the_start_is_found_soon(self, nsqd: FakeNsqd, intake: Intake) -> None:
        lookup = ScriptedLookup()
        consumer = intake(lookup=lookup)
        consumer.start()
        await lookup.wait_asked(4)
        lookup.results["orders"] = found(nsqd)
        await nsqd.serve("orders")

    async def test_a_poll_finds_nodes_that_came_later(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        lookup = ScriptedLookup(orders=found(nsqd))
        consumer = intake(lookup=lookup)
        consumer.start()
        await nsqd.serve("orders")
        lookup.results["orders"] = found(nsqd, other)
        consumer.poll_now()
        await other.serve("orders")
        await ready(consumer)

    async def test_a_node_that_vanished_is_dropped_when_its_connection_ends(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        lookup = ScriptedLookup(orders=found(nsqd, other))
        consumer = intake(lookup=lookup)
        consumer.start()
        await nsqd.serve("orders")
        vanishing = (await other.serve("orders"))["orders"]
        await ready(consumer)
        lookup.results["orders"] = found(nsqd)
        asked = lookup.asked
        consumer.poll_now()
        await lookup.wait_asked(asked + 1)
        vanishing.send(message_frame())
        assert (await intake.messages.get()).address == other.address
        await vanishing.close()
        await intake.log.wait_for("nsqd_unreachable")
        await ready(consumer)
        assert consumer.connections == ((nsqd.address, "orders"),)
        assert consumer.problems == ()

    async def test_a_topic_that_was_deleted_is_not_brought_back_by_a_new_connection(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        lookup = ScriptedLookup(orders=found(nsqd))
        consumer = intake(lookup=lookup)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await ready(consumer)
        lookup.results["orders"] = found()
        lookup.may_answer.clear()
        await peer.close()
        new = await nsqd.accept()
        await new.shake_hands()
        lookup.may_answer.set()
        await new.expect_end()
        await ready(consumer)
        assert consumer.connections == ()
        assert consumer.problems == ()

    @pytest.mark.parametrize("is_configured", [False, True])
    async def test_whether_a_topic_has_a_producer_is_reported_when_it_changes(
        self, nsqd: FakeNsqd, intake: Intake, *, is_configured: bool
    ) -> None:
        lookup = ScriptedLookup()
        reports: dict[str, bool] = {}
        addresses = (nsqd.address,) if is_configured else ()
        consumer = intake(*addresses, lookup=lookup, on_producer=reports.__setitem__)
        consumer.start()
        if is_configured:
            await nsqd.serve("orders")
            await ready(consumer)
            assert reports == {}, "a configured nsqd gets the topic from the subscription"
            return
        await until(lambda: reports == {"orders": False})
        lookup.results["orders"] = found(nsqd)
        peer = (await nsqd.serve("orders"))["orders"]
        await until(lambda: reports == {"orders": True})
        lookup.results["orders"] = found()
        asked = lookup.asked
        consumer.poll_now()
        await lookup.wait_asked(asked + 1)
        await nothing_to_do()
        assert reports == {"orders": True}, "it is still subscribed there"
        await peer.close()
        await until(lambda: reports == {"orders": False})

    async def test_a_lost_connection_asks_nsqlookupd_at_once_and_again_until_it_is_found(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A regular poll is an hour away."""
        lookup = ScriptedLookup(orders=found(nsqd))
        consumer = intake(lookup=lookup, poll_s=3600.0)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await ready(consumer)
        monkeypatch.setattr(discovery, "_QUICK_POLL_S", 0.001)
        asked = lookup.asked
        await nsqd.stop_listening()
        await peer.close()
        await lookup.wait_asked(asked + 20)
        lookup.results["orders"] = found(other)
        await other.serve("orders")
        await ready(consumer)
        assert consumer.connections == ((other.address, "orders"),)

    async def test_attempts_that_fail_ask_nsqlookupd_nothing(
        self, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempts: Counter[str] = Counter()

        def retry_in_s(error: NsqkitError, attempt: int) -> float:
            attempts[str(error)] = attempt
            return 0.0

        monkeypatch.setattr(module, "_retry_in_s", retry_in_s)
        lookup = ScriptedLookup(orders=nobody(50))
        intake(lookup=lookup).start()
        await until(lambda: len(attempts) == 50 and min(attempts.values()) > 10)
        assert lookup.asked == 1

    async def test_a_topic_deleted_while_its_nsqd_is_away_is_not_brought_back(self, intake: Intake) -> None:
        """A regular poll is an hour away, so nsqlookupd is asked between the connect and SUB."""
        async with FakeNsqd() as late:
            pass
        lookup = ScriptedLookup(orders=found(late))
        consumer = intake(lookup=lookup, poll_s=3600.0)
        consumer.start()
        await intake.log.wait_for("nsqd_unreachable")
        lookup.results.clear()
        async with FakeNsqd(port=late.port) as late:
            peer = await late.accept()
            await peer.shake_hands()
            await peer.expect_end()
            await ready(consumer)
            assert late.is_idle

    @pytest.mark.parametrize("is_silent", [False, True])
    async def test_the_cost_of_dead_nsqd_does_not_grow_faster_than_their_number(
        self, intake: Intake, monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
    ) -> None:
        """Calls are counted from the start to the end; each is tried once, or waits for its turn."""
        dead = Dead(monkeypatch, is_silent=is_silent)

        async def calls_of(count: int) -> int:
            dead.dialled.clear()
            consumer = intake(lookup=ScriptedLookup(orders=nobody(count)))

            async def work() -> None:
                consumer.start()
                await dead.wait_dialled(dials._AT_ONCE if is_silent else count)
                await turns(10)
                await consumer.close(0.0)

            return await calls(work())

        few, many = await calls_of(100), await calls_of(1000)
        assert many < 15 * few

    async def test_many_dead_nsqd_are_a_few_lines_and_problems(
        self, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dead = Dead(monkeypatch)
        consumer = intake(lookup=ScriptedLookup(orders=nobody(500)))
        consumer.start()
        await dead.wait_dialled(500)
        await turns(10)
        assert len(consumer.problems) == 101
        assert consumer.problems[-1] == "400 more subscriptions are missing"
        await consumer.close(0.0)
        assert [name for _, name, _ in intake.log.lines] == ["nsqd_unreachable"] * 10 + ["more_nsqd_failed"]
        assert intake.log.of("more_nsqd_failed")[0]["more"] == 485

    async def test_an_nsqd_among_hundreds_of_silent_ones_is_consumed(
        self, nsqd: FakeNsqd, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its address is the last in order, and the time limit of a connect never ends."""
        monkeypatch.setattr(dials, "_HURRIED_S", 0.01)
        Dead(monkeypatch, is_silent=True)
        nodes = nobody(500).nodes | {Node(nsqd.address.replace("127.0.0.1", "localhost"), "")}
        lookup = ScriptedLookup(orders=LookupResult(nodes, ()))
        intake(lookup=lookup, options=ConnectionOptions(connect_timeout_s=3600.0)).start()
        peer = (await nsqd.serve("orders"))["orders"]
        peer.send(message_frame())
        assert (await intake.messages.get()).finish()

    async def test_a_node_is_not_dropped_while_some_nsqlookupd_is_silent(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        lookup = ScriptedLookup(orders=found(nsqd))
        consumer = intake(lookup=lookup)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        lookup.results["orders"] = found(failures=("nsqlookupd 127.0.0.1:4161: Connection refused",))
        consumer.poll_now()
        await intake.log.wait_for("nsqlookupd_failed")
        await peer.close()
        await nsqd.serve("orders")
        await ready(consumer)

    async def test_an_nsqd_given_by_address_is_kept_though_no_lookup_names_it(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        """Pynsq tries such an nsqd again only if nsqlookupd lists it."""
        consumer = intake(nsqd.address, lookup=ScriptedLookup())
        consumer.start()
        await (await nsqd.serve("orders"))["orders"].close()
        await nsqd.serve("orders")
        await ready(consumer)

    async def test_it_is_not_ready_before_any_nsqlookupd_has_answered(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        down = (
            "nsqlookupd 127.0.0.1:4161: Connection refused",
            "nsqlookupd 127.0.0.1:4162: Connection refused",
        )
        lookup = ScriptedLookup(orders=found(failures=down))
        consumer = intake(nsqd.address, lookup=lookup)
        assert "no nsqlookupd has answered yet" in consumer.problems
        consumer.start()
        await nsqd.serve("orders")
        await lookup.wait_asked(5)
        assert consumer.problems == down
        assert len(intake.log.of("nsqlookupd_failed")) == 1
        lookup.results["orders"] = found(failures=down[:1])
        await ready(consumer)
        assert len(intake.log.of("nsqlookupd_failed")) == 1

    async def test_no_nsqd_at_all_is_ready(self, intake: Intake) -> None:
        consumer = intake(lookup=ScriptedLookup())
        consumer.start()
        await ready(consumer)


class TestAbsentTopic:
    """An nsqd that registers a topic while it deletes it is named for it, and does not have it."""

    async def test_it_is_not_brought_back_and_is_consumed_when_a_producer_publishes(
        self, broker: DevBroker, intake: Intake
    ) -> None:
        lookup = ScriptedLookup(orders=at(broker))
        reports: dict[str, bool] = {}
        consumer = intake(
            lookup=lookup, channels=channels(intake.log), on_producer=reports.__setitem__, poll_s=3600.0
        )
        consumer.start()
        await intake.log.wait_for("topic_absent")
        await lookup.wait_asked(lookup.asked + 5)  # each further attempt asks
        assert broker.ledger.topics == {}
        assert consumer.ready
        assert consumer.problems == ()
        assert reports == {"orders": False}
        assert consumer.states == {broker.tcp_address: ConnectionState.TOPIC_ABSENT}
        broker.ledger.publish("orders", [b"{}"], timestamp_ns=0, now_s=0.0)
        async with asyncio.timeout(PATIENCE_S):
            assert (await intake.messages.get()).address == broker.tcp_address
        assert reports == {"orders": True}
        assert [event for _, event, _ in intake.log.lines] == ["topic_absent", "nsqd_connected"]

    async def test_an_nsqd_that_cannot_be_reached_any_more_is_missed(
        self, broker: DevBroker, intake: Intake
    ) -> None:
        consumer = intake(lookup=ScriptedLookup(orders=at(broker)), channels=channels(intake.log))
        consumer.start()
        await intake.log.wait_for("topic_absent")
        await ready(consumer)
        await broker.stop()
        await intake.log.wait_for("nsqd_unreachable")
        assert not consumer.ready
        assert broker.tcp_address in consumer.problems[0]

    async def test_further_topics_are_created_by_their_subscription(
        self, broker: DevBroker, intake: Intake
    ) -> None:
        topics = ("orders", "orders.stock.retry")
        consumer = intake(
            topics=topics, lookup=ScriptedLookup(orders=at(broker)), channels=channels(intake.log)
        )
        consumer.start()
        await intake.log.wait_for("topic_absent")
        await ready(consumer)
        assert consumer.connections == ((broker.tcp_address, "orders.stock.retry"),)

    async def test_a_configured_nsqd_gets_it(self, broker: DevBroker, intake: Intake) -> None:
        consumer = intake(
            broker.tcp_address, lookup=ScriptedLookup(orders=at(broker)), channels=channels(intake.log)
        )
        consumer.start()
        await ready(consumer)
        assert broker.ledger.topics.keys() == {"orders"}

    async def test_it_is_subscribed_if_http_does_not_answer(self, broker: DevBroker, intake: Intake) -> None:
        nodes = LookupResult(frozenset({Node(broker.tcp_address, "127.0.0.1:1")}), ())
        consumer = intake(lookup=ScriptedLookup(orders=nodes), channels=channels(intake.log))
        consumer.start()
        await intake.log.wait_for("nsqd_connected")
        assert broker.ledger.topics.keys() == {"orders"}


def at(broker: DevBroker) -> LookupResult:
    return LookupResult(frozenset({Node(broker.tcp_address, broker.http_address)}), ())


def channels(log: Log) -> TopicChannels:
    return TopicChannels((("orders", "stock"),), timeout_s=PATIENCE_S, log=log)


class TestEnd:
    async def test_after_stop_intake_nothing_is_connected_and_what_arrives_is_handed_on(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        lookup = ScriptedLookup()
        consumer = intake(nsqd.address, lookup=lookup, poll_s=0.001)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await peer.expect(b"RDY 10\n")
        stopping = asyncio.create_task(consumer.stop_intake())
        await peer.expect(b"CLS\n")
        peer.send(message_frame())
        late = await intake.messages.get()
        assert not stopping.done()
        peer.respond(b"CLOSE_WAIT")
        await stopping
        assert late.requeue(0)
        await peer.expect(b"REQ " + ID + b" 0\n")
        asked = lookup.asked
        lookup.results["orders"] = found(other)
        consumer.poll_now()
        await peer.close()
        await nothing_to_do()
        assert lookup.asked == asked
        assert nsqd.is_idle
        assert other.is_idle

    async def test_stop_intake_does_not_wait_for_an_nsqd_that_does_not_answer(
        self, nsqd: FakeNsqd, intake: Intake
    ) -> None:
        consumer = intake(nsqd.address, options=ConnectionOptions(connect_timeout_s=1.0))
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await ready(consumer)
        async with asyncio.timeout(PATIENCE_S):
            await consumer.stop_intake()
        await peer.expect(b"RDY 10\n", b"CLS\n")

    async def test_close_lets_nsqd_take_in_every_answer(
        self, nsqd: FakeNsqd, other: FakeNsqd, intake: Intake
    ) -> None:
        consumer = intake(nsqd.address, other.address)
        consumer.start()
        peers = [(await fake.serve("orders"))["orders"] for fake in (nsqd, other)]
        await ready(consumer)
        for peer in peers:
            peer.send(message_frame())
            (await intake.messages.get()).finish()
        closing = asyncio.create_task(consumer.close(PATIENCE_S))
        for peer in peers:
            while await peer.command() != FIN:
                pass
            await peer.expect_end()
            assert not closing.done()
            await peer.close()
        await closing
        assert consumer.connections == ()
        assert nsqd.is_idle
        assert other.is_idle

    async def test_close_before_start_is_final(self, nsqd: FakeNsqd, intake: Intake) -> None:
        """Pynsq's Reader raises AttributeError when it is closed before it runs."""
        consumer = intake(nsqd.address, lookup=ScriptedLookup(orders=found(nsqd)))
        await consumer.stop_intake()
        await consumer.close(1.0)
        await consumer.close(1.0)
        consumer.start()
        await nothing_to_do()
        assert nsqd.is_idle

    @pytest.mark.parametrize("end", ["close", "stop_intake"])
    async def test_a_connection_in_progress_at_the_end_does_not_become_live(
        self, nsqd: FakeNsqd, intake: Intake, end: str
    ) -> None:
        consumer = intake(nsqd.address)
        consumer.start()
        peer = await nsqd.accept()
        await peer.identify()
        await (consumer.close(PATIENCE_S) if end == "close" else consumer.stop_intake())
        await peer.expect_end()
        assert consumer.connections == ()

    async def test_a_consumer_that_waits_to_reconnect_does_not_revive(
        self, nsqd: FakeNsqd, intake: Intake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pynsq's Reader connects again 15 s after close()."""
        monkeypatch.setattr(module, "_RECONNECT", Exponential(base_s=PATIENCE_S, max_s=PATIENCE_S))
        consumer = intake(nsqd.address)
        consumer.start()
        await (await nsqd.serve("orders"))["orders"].close()
        await intake.log.wait_for("nsqd_unreachable")
        await consumer.close(PATIENCE_S)
        assert [task for task in asyncio.all_tasks() if "Consumer" in repr(task)] == []
        assert nsqd.is_idle

    async def test_close_ends_in_time_when_nsqd_does_not(self, nsqd: FakeNsqd, intake: Intake) -> None:
        consumer = intake(nsqd.address)
        consumer.start()
        peer = (await nsqd.serve("orders"))["orders"]
        await ready(consumer)
        async with asyncio.timeout(PATIENCE_S):
            await consumer.close(0.02)
        await peer.expect(b"RDY 10\n")
        await peer.expect_end()

    async def test_close_leaves_a_question_under_way_to_end(self, intake: Intake) -> None:
        answered: list[bool] = []

        class Slow(ScriptedLookup):
            async def producers(self, topic: str, *, known: Collection[str] = frozenset()) -> LookupResult:
                await super().producers(topic)
                await nothing_to_do()
                answered.append(True)
                return NO_NODES

        lookup = Slow()
        consumer = intake(lookup=lookup)
        consumer.start()
        await lookup.wait_asked(1)
        await consumer.close(PATIENCE_S)
        assert answered == [True]
        assert lookup.asked == 1

    async def test_close_does_not_wait_long_for_a_question_that_gets_no_answer(self, intake: Intake) -> None:
        class Silent(ScriptedLookup):
            async def producers(self, topic: str, *, known: Collection[str] = frozenset()) -> LookupResult:
                nothing = await super().producers(topic)
                await asyncio.Event().wait()
                return nothing

        lookup = Silent()
        consumer = intake(lookup=lookup)
        consumer.start()
        await lookup.wait_asked(1)
        async with asyncio.timeout(PATIENCE_S):
            await consumer.close(0.02)

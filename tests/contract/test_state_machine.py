"""Ledger, embedded broker and real nsqd are driven by the same commands, and must count the same.

One consumer at a time: which of several is served is outside of the contract.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from nsqkit.devbroker import DevBroker
from nsqkit.testing.contract import Counts, Engine, LedgerEngine, Received, Subscriber, WireEngine
from tests.integration.conftest import Server
from tests.waiting import until

pytestmark = pytest.mark.nsqd

T = TypeVar("T")
CHANNEL = "c"


class Side:
    """One engine with its consumer and what that holds, in the order of delivery."""

    def __init__(self, engine: Engine, topic: str) -> None:
        self.engine = engine
        self.topic = topic
        self.subscriber: Subscriber | None = None
        self.held: list[Received] = []

    async def counts(self) -> tuple[Counts | None, int | None]:
        return await self.engine.counts(self.topic, CHANNEL), await self.engine.topic_depth(self.topic)

    @property
    def consumer(self) -> Subscriber:
        assert self.subscriber is not None
        return self.subscriber

    async def take(self, count: int) -> list[tuple[bytes, int]]:
        """Receive so many, and return their bodies and attempts."""
        taken = [await self.consumer.receive() for _ in range(count)]
        self.held += taken
        return [(received.body, received.attempts) for received in taken]


class Twins(RuleBasedStateMachine):
    """The same commands to all engines; after each, all count the same."""

    make_engines: ClassVar[Callable[[], tuple[Engine, ...]]]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        topic = f"machine-{secrets.token_hex(6)}"
        self.sides = [Side(engine, topic) for engine in type(self).make_engines()]
        self.model = self.sides[0]
        self.ready_count = 0
        self.is_stopped = False
        self.published = 0

    # -- commands

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        bodies = [b"%d" % (self.published + number) for number in range(count)]
        self.published += count
        self._all(lambda side: side.engine.publish(side.topic, *bodies))

    @rule()
    def create_channel(self) -> None:
        self._all(lambda side: side.engine.create_channel(side.topic, CHANNEL))

    @precondition(lambda self: self.model.subscriber is None)
    @rule()
    def subscribe(self) -> None:
        async def subscribe(side: Side) -> None:
            side.subscriber = await side.engine.subscribe(side.topic, CHANNEL)

        self.ready_count, self.is_stopped = 0, False
        self._all(subscribe)

    @precondition(lambda self: self.model.subscriber is not None and not self.is_stopped)
    @rule(count=st.integers(0, 4))
    def ready(self, count: int) -> None:
        self.ready_count = count
        self._all(lambda side: side.consumer.ready(count))

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        self._all(lambda side: side.consumer.finish(side.held.pop(which % len(side.held))))

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 100), delay_ms=st.sampled_from([0, 600_000]))
    def requeue(self, which: int, delay_ms: int) -> None:
        self._all(lambda side: side.consumer.requeue(side.held.pop(which % len(side.held)), delay_ms))

    @precondition(lambda self: self.model.held)
    @rule(which=st.integers(0, 100))
    def touch(self, which: int) -> None:
        self._all(lambda side: side.consumer.touch(side.held[which % len(side.held)]))

    @precondition(lambda self: self.model.subscriber is not None)
    @rule()
    def answer_twice(self) -> None:
        stranger = Received(b"f" * 16, b"", 1, 0)
        self._all(lambda side: side.consumer.finish(stranger))

    @precondition(lambda self: self.model.subscriber is not None and not self.is_stopped)
    @rule()
    def stop(self) -> None:
        self.is_stopped = True
        self._all(lambda side: side.consumer.stop())

    @precondition(lambda self: self.model.subscriber is not None)
    @rule()
    def disconnect(self) -> None:
        async def disconnect(side: Side) -> None:
            await side.consumer.disconnect()
            side.subscriber, side.held = None, []

        self._all(disconnect)

    @precondition(lambda self: self._count() is not None)
    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:  # noqa: FBT001 - drawn
        self._all(lambda side: (side.engine.pause if paused else side.engine.unpause)(side.topic, CHANNEL))

    # -- comparison

    def _all(self, command: Callable[[Side], Coroutine[Any, Any, object]]) -> None:
        async def play() -> None:
            for side in self.sides:
                await command(side)
            await self._settle()

        self._run(play())

    async def _settle(self) -> None:
        """Take what the ledger delivered from every engine, and compare."""
        expected = await self.model.counts()
        channel = expected[0]
        deliverable = 0
        if channel is not None and self.model.subscriber is not None:
            deliverable = await self._waiting(self.model)
        taken = await self.model.take(deliverable) if deliverable else []
        for side in self.sides[1:]:
            if deliverable:
                assert await side.take(deliverable) == taken
            await until(side.counts, lambda found: found == expected)  # nsqd counts after its reply
            if side.subscriber is not None:
                assert await side.subscriber.refusals() == await self.model.consumer.refusals()

    async def _waiting(self, side: Side) -> int:
        """Return how many deliveries the ledger's consumer has not read yet."""
        return len(side.consumer.unread)  # type: ignore[attr-defined]  # LedgerSubscriber

    def _count(self) -> Counts | None:
        return self._run(self.model.engine.counts(self.model.topic, CHANNEL))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return type(self).loop.run_until_complete(coroutine)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_the_same_commands_have_the_same_effect(loop: asyncio.AbstractEventLoop, quick_nsqd: Server) -> None:
    async def start() -> tuple[DevBroker, WireEngine, WireEngine]:
        broker = DevBroker(tcp_port=0, http_port=0)
        await broker.start()
        embedded = WireEngine(broker.tcp_address, broker.http_address)
        return broker, embedded, WireEngine(quick_nsqd.tcp_address, quick_nsqd.http_address)

    broker, embedded, real = loop.run_until_complete(start())
    Twins.loop = loop
    Twins.make_engines = lambda: (LedgerEngine(), embedded, real)
    try:
        run_state_machine_as_test(
            Twins,
            settings=settings(
                max_examples=30,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
    finally:
        loop.run_until_complete(embedded.close())
        loop.run_until_complete(real.close())
        loop.run_until_complete(broker.stop())

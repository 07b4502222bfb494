"""Subscription: one handler from its connection to its outcomes, which can be paused and blocked."""

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from nsqkit import Context, DeadLetter, Handler, Next, Outcome, Pause, Requeue, RetryPolicy, Settings, event
from nsqkit.errors import BreakerOpenError
from nsqkit.handler.extension import Hooks
from nsqkit.nsq import Consumer, Endpoints
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.resources import ReadyHandler
from nsqkit.telemetry.metrics import Metrics
from nsqkit.testing import Harness
from nsqkit.worker.parts import WorkerParts
from nsqkit.worker.subscription import Subscription
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer, message_frame
from tests.unit.runtime.bench import RecordingLog, timers
from tests.waiting import until

LONG_S = 3600.0
NOBODY = "127.0.0.1:1"
ID = b"0123456789abcdef"


@event("subscription.happened", version=1, topic="subscribed")
@dataclass
class Happened:
    n: int = 0


def working(behave: Callable[[Context], Any] = lambda _: None, **options: Any) -> Handler[Happened]:
    class Work(Handler[Happened], channel="stock", **({"dead_letters": False} | options)):
        async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
            outcome: Outcome | None = behave(ctx)
            return outcome

    return Work()


class Running:
    """A subscription, and nsqd's end of it."""

    def __init__(
        self,
        handler: Handler[Any],
        address: str,
        *,
        clock: Clock | None = None,
        hooks: Hooks | None = None,
        **options: Any,
    ) -> None:
        self.log = RecordingLog()
        self.metrics = Metrics()
        settings = Settings(nsqd=(address,), connect_timeout_s=1.0, **({"rdy": "fixed"} | options))
        self.publishers = PublisherPool(connection_options(settings), publish_timeout_s=2.0)
        parts = WorkerParts(
            settings=settings,
            metrics=self.metrics,
            publishes=self.publishers,
            make_consumer=partial(Consumer, endpoints=Endpoints(settings.nsqd)),
            max_msg_bytes=1_000_000,
            log=self.log,
            clock=clock or Clock(),
        )
        self.subscription = Subscription(ReadyHandler(handler, hooks or Hooks()), parts)
        self.peer: Peer

    def count(self, name: str, **labels: str) -> float | None:
        known = {"topic": "subscribed", "channel": "stock", "handler": "Work"}
        return self.metrics.registry.get_sample_value(f"nsqkit_{name}", known | labels)

    async def close(self) -> None:
        self.subscription.intake.stop()
        self.subscription.intake.give_back()
        await self.subscription.consumer.close(0.05)
        self.subscription.close()
        await self.publishers.close()

    def lines(self, *names: str) -> list[str]:
        return [name for _, name, _ in self.log.lines if name in names]


async def answer(peer: Peer) -> bytes:
    """Return the next command but RDY, which changes as connections come."""
    while (command := await peer.command()).startswith(b"RDY "):
        pass
    return command


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a handler, subscribed with so much RDY."""
    async with AsyncExitStack() as stack:

        async def run(handler: Handler[Any], ready: int = 100, **options: Any) -> Running:
            nsqd = await stack.enter_async_context(FakeNsqd())
            running = Running(handler, nsqd.address, **options)
            running.subscription.consumer.start()
            stack.push_async_callback(running.close)
            peers = await nsqd.serve("subscribed")
            running.peer = peers["subscribed"]
            await running.peer.expect(b"RDY %d\n" % ready)
            return running

        yield run


@asynccontextmanager
async def unreachable(handler: Handler[Any], **options: Any) -> AsyncIterator[Running]:
    running = Running(handler, NOBODY, **options)
    try:
        yield running
    finally:
        await running.close()


class Forgets(Handler[Happened], channel="stock"):
    """A handler that forgets a return."""

    async def handle(self, event: Happened, ctx: Context) -> None:
        Requeue(3)


async def test_a_value_that_the_handler_drops_is_reported_at_the_start() -> None:
    async with unreachable(Forgets()) as running:
        (fields,) = [fields for _, event, fields in running.log.lines if event == "value_dropped"]
    line = Forgets.handle.__code__.co_firstlineno + 1
    assert str(fields["reason"]).startswith(
        f"{__file__}:{line}: Requeue(…) is created and dropped; write return"
    )


class TestTopics:
    @pytest.mark.parametrize(
        ("options", "topics"),
        [
            pytest.param(
                {"dead_letters": None}, ("subscribed", "subscribed.stock.retry"), id="by default both"
            ),
            pytest.param({"dead_letters": False}, ("subscribed",), id="unless it keeps no dead letters"),
            pytest.param(
                {"dead_letters": None, "channel": "s#ephemeral"},
                ("subscribed",),
                id="nor does an ephemeral one",
            ),
        ],
    )
    async def test_it_follows_the_declaration(self, options: dict[str, Any], topics: tuple[str, ...]) -> None:
        class Work(Handler[Happened], **({"channel": "stock"} | options)):
            async def handle(self, event: Happened, ctx: Context) -> None:
                pass

        async with unreachable(Work()) as running:
            assert running.subscription.topics == topics


class TestLease:
    """What is asked of nsqd in IDENTIFY."""

    @pytest.mark.parametrize("timeout_s", [30, 120], ids=["shorter than it", "longer than it"])
    async def test_the_lease_is_the_setting_whatever_the_handlers_timeout(self, timeout_s: float) -> None:
        async with FakeNsqd() as nsqd:
            running = Running(working(timeout_s=timeout_s), nsqd.address)
            running.subscription.consumer.start()
            said = await (await nsqd.accept()).identify()
            assert said["msg_timeout"] == 60_000
            assert said["user_agent"] == "nsqkit/nsqkit"
            await running.close()

    async def test_an_nsqd_that_cannot_hold_a_message_for_the_timeout_is_refused(self) -> None:
        async with FakeNsqd() as nsqd:
            running = Running(working(timeout_s=120), nsqd.address)
            running.subscription.consumer.start()
            peer = await nsqd.accept()
            await peer.shake_hands(max_msg_timeout=60_000)
            await until(lambda: "120 s" in str(running.subscription.problems))
            assert "60 s" in str(running.subscription.problems)
            await running.close()


class TestInFlight:
    """max_in_flight is RDY, and for plain handlers what their threads need, up to it."""

    async def test_of_an_async_handler_it_is_what_it_declares(self, start: Start) -> None:
        running = await start(working(max_in_flight=7), ready=7)
        assert running.count("max_in_flight") == 7

    async def test_of_a_plain_handler_it_follows_its_threads_and_their_calls(self, start: Start) -> None:
        class Work(Handler[Happened], channel="stock", dead_letters=False):
            def handle(self, event: Happened, ctx: Context) -> None:
                pass

        stands_still = Clock(now_s=lambda: 0.0)
        running = await start(Work(), ready=3, threads=3, clock=stands_still)
        assert running.count("max_in_flight") == 3
        running.peer.send(message_frame(ID, b"{}"))
        await running.peer.expect(b"FIN %s\n" % ID, b"RDY 100\n")
        assert running.count("max_in_flight") == running.subscription.state.max_in_flight == 100
        assert running.count("lost_slots") == 0

    async def test_with_middleware_threads_bound_it(self, start: Start) -> None:
        async def layer(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            return await call_next(event, ctx)

        class Work(Handler[Happened], channel="stock", dead_letters=False):
            def handle(self, event: Happened, ctx: Context) -> None:
                pass

        hooks = Hooks(around_handle=(layer,))
        running = await start(Work(), ready=3, threads=3, hooks=hooks, clock=Clock(now_s=lambda: 0.0))
        running.peer.send(message_frame(ID, b"{}"))
        await running.peer.expect(b"FIN %s\n" % ID)
        assert running.count("max_in_flight") == 3

    async def test_a_message_is_settled_over_its_own_connection(self, start: Start) -> None:
        running = await start(working())
        running.peer.send(message_frame(ID, b"{}"))
        await running.peer.expect(b"FIN %s\n" % ID)
        await until(lambda: running.count("messages_processed_total", outcome="success") == 1)

    async def test_a_settlement_that_nsqd_refuses_is_counted_by_its_command(self, start: Start) -> None:
        running = await start(working())
        running.peer.refuse(b"E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight")
        await until(lambda: running.count("settle_failures_total", command="FIN") == 1)
        assert running.count("messages_processed_total", outcome="success") == 0


class TestPause:
    """A pause stops the intake for a while."""

    async def test_rdy_goes_to_zero_and_comes_back(self, start: Start) -> None:
        running = await start(working(max_in_flight=7), ready=7)
        running.subscription.pause(0.02)
        await running.peer.expect(b"RDY 0\n", b"RDY 7\n")
        assert running.lines("intake_paused", "intake_resumed") == ["intake_paused", "intake_resumed"]
        assert not running.subscription.resumes_by_itself
        assert running.subscription.problems == (), "a pause is no fault"

    async def test_an_outcome_that_pauses_does_so(self, start: Start) -> None:
        running = await start(working(lambda _: Pause(0.02)))
        running.peer.send(message_frame(ID, b"{}"))
        assert {await running.peer.command(), await running.peer.command()} == {
            b"RDY 0\n",
            b"REQ %s 20\n" % ID,
        }
        await running.peer.expect(b"RDY 1\n")

    async def test_what_arrives_in_a_pause_is_held_and_starts_after_it(self, start: Start) -> None:
        running = await start(working())
        running.subscription.pause()
        assert not running.subscription.resumes_by_itself, "nobody knows when it ends"
        await running.peer.expect(b"RDY 0\n")
        running.peer.send(message_frame(ID, b"{}"))
        await until(lambda: running.subscription.intake.held == 1)
        running.subscription.resume()
        assert {await running.peer.command(), await running.peer.command()} == {
            b"RDY 100\n",
            b"FIN %s\n" % ID,
        }

    async def test_of_several_the_one_that_ends_last_counts(self, start: Start) -> None:
        running = await start(working())
        running.subscription.pause(LONG_S)
        until_s = running.subscription.gate.until_s
        running.subscription.pause(1.0)
        assert running.subscription.gate.until_s == until_s, "a shorter one changes nothing"
        running.subscription.pause(2 * LONG_S)
        assert running.subscription.gate.until_s > until_s
        assert running.subscription.resumes_by_itself
        assert running.lines("intake_paused") == ["intake_paused"] * 2

    async def test_a_resume_ends_all_of_them(self, start: Start) -> None:
        running = await start(working())
        running.subscription.pause(LONG_S)
        running.subscription.pause()
        await running.peer.expect(b"RDY 0\n")
        running.subscription.resume()
        await running.peer.expect(b"RDY 100\n")
        assert not running.subscription.resumes_by_itself

    async def test_a_stop_in_a_pause_leaves_no_timer(self, start: Start) -> None:
        running = await start(working())
        running.subscription.pause(LONG_S)
        await running.close()
        assert timers() == []

    async def test_a_breaker_that_is_open_rests_the_intake_and_then_lets_one_message_come(
        self, start: Start
    ) -> None:
        def refuse_once(ctx: Context) -> None:
            if ctx.attempts == 1:
                raise BreakerOpenError("shop", 0.02)

        running = await start(working(refuse_once))
        running.peer.send(message_frame(ID, b"{}"))
        assert {await running.peer.command(), await running.peer.command()} == {
            b"RDY 0\n",
            b"REQ %s 20\n" % ID,
        }
        await running.peer.expect(b"RDY 1\n")
        running.peer.send(message_frame(ID, b"{}", attempts=2))
        await running.peer.expect(b"FIN %s\n" % ID, b"RDY 100\n")
        assert running.count("messages_requeued_total", reason="breaker_open") == 1

    async def test_an_outage_never_exhausts_a_message(self, start: Start) -> None:
        def refuse(ctx: Context) -> None:
            raise BreakerOpenError("shop", 1.0)

        running = await start(working(refuse, retry=RetryPolicy(max_attempts=1)))
        running.peer.send(message_frame(ID, b"{}", attempts=11))
        assert {await running.peer.command(), await running.peer.command()} == {
            b"RDY 0\n",
            b"REQ %s 1000\n" % ID,
        }
        assert running.subscription.gate.reason is RequeueReason.BREAKER_OPEN


class TestBlock:
    """A block stops the intake until a person has acted, which is probed."""

    async def test_rdy_goes_to_zero_and_it_is_not_ready(self, start: Start) -> None:
        running = await start(working())
        running.subscription.block("no more dead letters")
        await running.peer.expect(b"RDY 0\n")
        assert running.subscription.problems == ("no more dead letters",)
        assert running.lines("intake_blocked") == ["intake_blocked"]

    async def test_the_first_reason_stays_and_is_told_once(self, start: Start) -> None:
        running = await start(working())
        running.subscription.block("first")
        running.subscription.block("second")
        assert running.subscription.problems == ("first",)
        assert running.lines("intake_blocked") == ["intake_blocked"]

    async def test_no_pause_ends_it(self, start: Start) -> None:
        running = await start(working())
        running.subscription.block("why")
        running.subscription.pause(0.01)
        await until(lambda: running.lines("intake_resumed") == ["intake_resumed"])
        running.subscription.resume()
        assert running.subscription.gate.limit == 0
        assert not running.subscription.resumes_by_itself
        assert running.subscription.problems == ("why",)

    async def test_a_dead_letter_that_can_never_be_published_blocks(self, start: Start) -> None:
        """The message's own nsqd refuses the topic; the message comes back, and nothing more is taken."""
        async with FakeNsqd() as nsqd:
            running = Running(working(lambda _: DeadLetter("bad"), dead_letters=True), nsqd.address)
            running.subscription.consumer.start()
            peers = await nsqd.serve("subscribed", "subscribed.stock.retry")
            peers["subscribed"].send(message_frame(ID, b"{}"))
            publishing = await nsqd.accept()
            await publishing.shake_hands()
            await publishing.expect(b"SUB subscribed.stock.dead dead\n")
            publishing.refuse(b"E_UNAUTHORIZED no permission")
            assert (await answer(peers["subscribed"])).startswith(b"REQ %s " % ID)
            (problem,) = running.subscription.problems
            assert problem.startswith("Work cannot publish dead letters: topic subscribed.stock.dead")
            assert "E_UNAUTHORIZED" in problem
            assert running.count("messages_requeued_total", reason="dead_letter_failed") == 1
            await running.close()


class Declines(Handler[Happened], channel="declines"):
    """A handler whose every odd message becomes a dead letter."""

    async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
        return DeadLetter("odd") if event.n % 2 else None


class TestProbe:
    """A block is probed, so that no restart is needed when its cause is corrected."""

    async def test_it_is_probed_later_each_time_until_a_dead_letter_is_confirmed(self) -> None:
        async with Harness([Declines]) as h:
            (subscription,) = h._subscriptions
            h.fail_publish(2 * 3, permanent=True)  # each time the record, and then the raw body alone
            await h.publish(Happened(1))
            for failed, probe_s in enumerate((15, 30, 60), 1):
                await h.settle()
                assert subscription.problems[0].startswith("Declines cannot publish dead letters: ")
                h.requeued(reason="dead_letter_failed").times(failed)
                h.clock.advance(probe_s - 0.1)
                await h.settle()
                h.requeued(reason="dead_letter_failed").times(failed)
                h.clock.advance(0.1)
            await h.settle()
            h.dead_lettered(Happened(1)).once()
            assert subscription.problems == ()
            assert subscription.gate.is_open

    async def test_a_trial_that_is_handled_ends_it_too(self) -> None:
        async with Harness([Declines]) as h:
            (subscription,) = h._subscriptions
            h.fail_publish(2, permanent=True)
            await h.publish(Happened(1))
            await h.settle()
            await h.publish(Happened(2))
            await h.publish(Happened(4))
            await h.settle()
            h.handled().never()
            h.clock.advance(15)
            await h.settle()
            h.handled(Happened(2)).once()
            h.handled(Happened(4)).once()
            h.dead_lettered(Happened(1)).once()
            assert not subscription.is_blocked

    async def test_a_probe_that_is_due_after_the_end_has_no_effect(self, start: Start) -> None:
        running = await start(working())
        running.subscription.block("why")
        await running.close()
        probe = running.subscription._probe
        assert probe is not None
        assert probe.cancelled()


class TestProblems:
    """Why it is not ready."""

    async def test_before_it_is_connected_the_handler_and_its_channel_are_named(self) -> None:
        async with unreachable(working()) as running:
            assert running.subscription.problems
            for problem in running.subscription.problems:
                assert problem.startswith("Work (subscribed/stock): ")

    async def test_an_unreachable_nsqd_is_named(self) -> None:
        async with unreachable(working()) as running:
            running.subscription.consumer.start()
            await until(lambda: "refused" in str(running.subscription.problems))
            assert NOBODY in running.subscription.problems[0]

    async def test_once_subscribed_there_is_none(self, start: Start) -> None:
        running = await start(working())
        assert running.subscription.problems == ()


async def test_when_its_requeued_messages_are_due_is_known(start: Start) -> None:
    running = await start(working(lambda _: Requeue(60)))
    assert running.subscription.next_requeue_s == math.inf
    running.peer.send(message_frame(ID, b'{"n": 1}'))
    await until(lambda: running.subscription.next_requeue_s <= 61.0)
    assert running.subscription.next_requeue_s > 50.0


async def test_a_dead_letter_is_published_to_the_messages_own_nsqd_before_its_fin() -> None:
    async with FakeNsqd() as nsqd:
        running = Running(working(lambda _: DeadLetter("bad"), dead_letters=True), nsqd.address)
        running.subscription.consumer.start()
        peers = await nsqd.serve("subscribed", "subscribed.stock.retry")
        peers["subscribed"].send(message_frame(ID, b"{}"))
        making = await nsqd.accept()
        await making.shake_hands()
        await making.expect(b"SUB subscribed.stock.dead dead\n")
        making.respond()
        publishing = await nsqd.accept()
        await publishing.shake_hands()
        command = await publishing.command()
        line, _, rest = command.partition(b"\n")
        assert line == b"PUB subscribed.stock.dead"
        assert json.loads(rest[4:])["reason"] == "requested"
        assert running.subscription.intake.held == 1
        publishing.respond()
        assert await answer(peers["subscribed"]) == b"FIN %s\n" % ID
        await running.close()

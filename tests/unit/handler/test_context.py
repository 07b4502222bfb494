"""Context: what a handler sees of its message, usable in a test without a worker."""

from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.handler.context import Context, Next, Outgoing
from nsqkit.policy.outcome import Discard, Outcome


class FakeDelivery:
    """Notes what a Context asks of its delivery."""

    def __init__(self, prepare: Any = None) -> None:
        self.prepare = prepare
        self.told: list[str] = []
        self.bound: list[Any] = []

    def is_lost(self, now_s: float) -> bool:
        return False

    def wait(self) -> None:
        self.told.append("waits")

    def bind_log(self) -> Any:
        self.bound.append(structlog.get_logger())
        return self.bound[-1]


def test_a_context_made_by_hand_needs_no_arguments() -> None:
    ctx = Context()
    assert (ctx.topic, ctx.channel, ctx.message_id) == ("", "", "")
    assert (ctx.attempts, ctx.timestamp_ns, ctx.event_id) == (1, 0, None)
    assert ctx.cancelled is False
    assert ctx.outgoing == ()
    assert ctx.remaining_s() == float("inf")


def test_a_context_carries_what_is_known_of_the_message() -> None:
    ctx = Context(
        topic="orders",
        channel="notify",
        attempts=3,
        message_id="0a1b2c3d4e5f6071",
        timestamp_ns=1_700_000_000_000_000_000,
        event_id="e-1",
    )
    assert (ctx.topic, ctx.channel, ctx.attempts) == ("orders", "notify", 3)
    assert (ctx.message_id, ctx.timestamp_ns, ctx.event_id) == (
        "0a1b2c3d4e5f6071",
        1_700_000_000_000_000_000,
        "e-1",
    )


def test_a_name_that_a_context_does_not_have_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        Context().canceled = True  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("deadline_s", "now_s", "expected_s"),
    [
        pytest.param(100.0, 70.0, 30.0, id="until the deadline"),
        pytest.param(100.0, 100.0, 0.0, id="nothing at the deadline"),
        pytest.param(100.0, 130.0, 0.0, id="nothing behind it"),
    ],
)
def test_the_time_that_remains(deadline_s: float, now_s: float, expected_s: float) -> None:
    assert Context(deadline_s=deadline_s, now_s=lambda: now_s).remaining_s() == expected_s


@pytest.mark.parametrize(
    ("for_s", "cap_s", "expected_s"),
    [
        pytest.param(30.0, 100.0, 30.0, id="as long as the handler may take"),
        pytest.param(30.0, 25.0, 15.0, id="but no longer than nsqd allows"),
        pytest.param(float("inf"), 100.0, 90.0, id="which bounds what has no limit"),
    ],
)
def test_a_start_begins_the_time_that_remains(for_s: float, cap_s: float, expected_s: float) -> None:
    ctx = Context(deadline_s=cap_s, now_s=lambda: 10.0)
    ctx.start(for_s)
    assert (ctx.started_s, ctx.remaining_s(), ctx.deadline_s) == (10.0, expected_s, 10.0 + expected_s)


def test_a_wait_ends_it_and_is_told() -> None:
    delivery = FakeDelivery()
    told = delivery.told
    ctx = Context(deadline_s=100.0, now_s=lambda: 10.0, delivery=delivery)
    ctx.start(30.0)
    ctx.wait()
    assert (ctx.started_s, ctx.remaining_s(), told) == (None, 90.0, ["waits"])


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_the_time_that_remains_is_never_negative(deadline_s: float, now_s: float) -> None:
    assert Context(deadline_s=deadline_s, now_s=lambda: now_s).remaining_s() >= 0


def test_what_is_published_waits_in_order_as_it_was_prepared() -> None:
    asked: list[tuple[object, str | None, float]] = []

    def prepare(event: object, topic: str | None, defer_s: float) -> Outgoing:
        asked.append((event, topic, defer_s))
        return Outgoing(topic or "orders", str(event).encode(), defer_s)

    ctx = Context(delivery=FakeDelivery(prepare))
    ctx.publish("first")
    ctx.publish("second", topic="elsewhere", defer_s=5)
    assert asked == [("first", None, 0.0), ("second", "elsewhere", 5)]
    assert ctx.outgoing == (Outgoing("orders", b"first"), Outgoing("elsewhere", b"second", 5))


def test_what_cannot_be_prepared_is_not_kept() -> None:
    def prepare(event: object, topic: str | None, defer_s: float) -> Outgoing:
        raise ValueError(event)

    ctx = Context(delivery=FakeDelivery(prepare))
    with pytest.raises(ValueError, match=r"^first$"):
        ctx.publish("first")
    assert ctx.outgoing == ()


def test_a_context_made_by_hand_says_that_it_publishes_nowhere() -> None:
    with pytest.raises(RuntimeError) as caught:
        Context().publish("first", topic="orders", defer_s=2)
    assert str(caught.value) == "this Context publishes nowhere: 'first' to 'orders' in 2 s"


def test_the_log_is_bound_once_and_only_when_it_is_used() -> None:
    delivery = FakeDelivery()
    bound = delivery.bound
    ctx = Context(delivery=delivery)
    assert bound == []
    assert ctx.log is ctx.log
    assert len(bound) == 1


def test_a_context_made_by_hand_can_log() -> None:
    with structlog.testing.capture_logs() as lines:
        Context().log.info("stock_reserved", sku="a-1")
    assert lines == [{"event": "stock_reserved", "sku": "a-1", "log_level": "info"}]


async def test_a_middleware_stands_around_the_call() -> None:
    async def innermost(event: Any, ctx: Context) -> Outcome | None:
        return Discard(event)

    async def shout(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        return await call_next(event.upper(), ctx)

    assert await shout("old", Context(), innermost) == Discard("OLD")

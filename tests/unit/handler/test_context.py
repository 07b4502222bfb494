"""Context: what a handler sees of its message, usable in a test without a worker."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nsqkit import Context, Discard, EncodeError, Envelope, Next, Outcome, Requeue, event, resource
from nsqkit.handler.context import CLOSED
from nsqkit.handler.outgoing import Outgoing


@event("context.placed", version=1, topic="context.placed")
@dataclass
class Placed:
    order_id: str


@resource(per="message")
def session() -> Iterator[str]:
    yield "a real one"


class FakeDelivery:
    """Notes what a Context asks of its delivery."""

    attempts = 1
    is_replayed = False
    retry_topic = None

    def __init__(self, prepare: Any = None) -> None:
        self.preparer: Any = SimpleNamespace(
            event=lambda event, topic, defer_s, _, **__: prepare(event, topic, defer_s)
        )
        self.told: list[str] = []
        self.bound: list[Any] = []

    def is_lost(self, now_s: float) -> bool:
        return False

    def verdict_on(self, outcome: Any) -> Any:
        raise NotImplementedError

    def wait(self) -> None:
        self.told.append("waits")

    def overrun(self, timeout_s: float) -> None:
        self.told.append(f"overran {timeout_s:g} s")

    def stuck(self, at: str) -> None:
        self.told.append(f"stuck at {at}")

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
    first, second = {"n": 1}, {"n": 2}
    ctx.publish(first)
    ctx.publish(second, topic="elsewhere", defer_s=5)
    assert asked == [(first, None, 0.0), (second, "elsewhere", 5)]
    assert ctx.outgoing == (Outgoing("orders", b"{'n': 1}"), Outgoing("elsewhere", b"{'n': 2}", 5))


def test_what_cannot_be_prepared_is_not_kept() -> None:
    def prepare(event: object, topic: str | None, defer_s: float) -> Outgoing:
        raise ValueError(event)

    ctx = Context(delivery=FakeDelivery(prepare))
    with pytest.raises(ValueError, match=r"^\{'n': 1\}$"):
        ctx.publish({"n": 1})
    assert ctx.outgoing == ()


def test_a_context_made_by_hand_collects_what_is_published() -> None:
    ctx = Context()
    ctx.publish(Placed("o-1"))
    ctx.publish(Placed("o-2"), topic="elsewhere", defer_s=2)
    ctx.publish_raw("raw", b"{}", defer_s=1.5)
    assert [(each.event, each.topic, each.defer_s) for each in ctx.outgoing] == [
        (Placed("o-1"), "context.placed", 0.0),
        (Placed("o-2"), "elsewhere", 2),
        (None, "raw", 1.5),
    ]
    assert json.loads(ctx.outgoing[0].body)["data"] == {"order_id": "o-1"}
    assert ctx.outgoing[2].body == b"{}"


@pytest.mark.parametrize(
    ("topic", "body", "defer_s", "said"),
    [
        pytest.param("a b", b"{}", 0.0, "topic name 'a b'", id="an invalid topic"),
        pytest.param("t", b"", 0.0, "the message is empty", id="nothing"),
        pytest.param("t", b"x" * 1_048_577, 0.0, "nsqd takes 1048576", id="over nsqd's limit"),
        pytest.param("t", b"{}", -1.0, "defer_s=-1.0", id="a negative delay"),
    ],
)
def test_raw_bytes_that_cannot_be_published_are_refused(
    topic: str, body: bytes, defer_s: float, said: str
) -> None:
    with pytest.raises(EncodeError, match=said):
        Context().publish_raw(topic, body, defer_s=defer_s)


def test_a_context_made_by_hand_has_the_resources_that_it_is_given() -> None:
    ctx = Context(resources={session: "a fake"})
    assert ctx.resource(session) == "a fake"


def test_a_resource_whose_call_has_ended_is_not_given() -> None:
    with pytest.raises(LookupError, match="resource session is closed: the call of the handler has ended"):
        Context(resources=CLOSED).resource(session)


def test_a_resource_that_is_not_open_says_where_to_name_it() -> None:
    with pytest.raises(LookupError, match=r"resource session is not open .* uses=\["):
        Context().resource(session)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"order_id": "o-1"}', id="a bare body"),
        pytest.param(b'{"specversion": null, "type": "t"}', id="no version"),
        pytest.param(
            b'{"specversion": "1.0", "type": 5, "source": "s", "id": "1"}', id="a type that is no text"
        ),
        pytest.param(b'"specversion"', id="no object"),
        pytest.param(b'{"specversion"', id="not JSON"),
    ],
)
def test_a_body_without_a_valid_envelope_has_none(body: bytes) -> None:
    assert Context(body=body).envelope is None


def test_the_envelope_has_its_attributes_and_its_extensions() -> None:
    body = {
        "specversion": "1.0",
        "type": "order.created.v1",
        "source": "shop",
        "id": "e-1",
        "subject": "o-1",
        "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json",
        "traceparent": "00-1-2-01",
        "retries": 3,
        "data": {"order_id": "o-1"},
    }
    envelope = Context(body=json.dumps(body).encode()).envelope
    assert envelope == Envelope(
        type="order.created.v1",
        source="shop",
        id="e-1",
        subject="o-1",
        time="2026-01-02T03:04:05Z",
        datacontenttype="application/json",
        extensions={"traceparent": "00-1-2-01", "retries": 3},
    )


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


def test_a_context_made_by_hand_judges_outcomes_by_the_default_rules() -> None:
    ctx = Context(attempts=2)
    ctx.resume(3)
    assert (ctx.attempts, ctx.earlier) == (5, 3)
    assert ctx.delivery.verdict_on(Requeue(901)).asked_s == 901

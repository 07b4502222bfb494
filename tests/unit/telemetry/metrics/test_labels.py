"""Labels: whatever messages contain and whatever handlers raise, no series is added."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import Context, DeadLetter, Exponential, Handler, Outcome, Requeue, RetryPolicy, Settings, event
from nsqkit.handler.extension import Hooks
from nsqkit.handler.publish_counts import count_published
from nsqkit.runtime.resources import ReadyHandler
from nsqkit.telemetry.metrics import Metrics
from nsqkit.worker.parts import WorkerParts
from nsqkit.worker.subscription import Subscription
from tests.unit.runtime.bench import FakeMessage, FakePublishes
from tests.waiting import turns

MESSAGES = 100_000
CHUNK = 1_000
SEED = 20_261_130


class Expected(Exception):  # noqa: N818 - a team's name
    """An error that the handler declares."""


@event("labels.happened", version=1, topic="labelled")
@dataclass
class Happened:
    n: int


class Anything(
    Handler[Happened],
    channel="any",
    max_in_flight=CHUNK,
    on_unknown="dead_letter",
    errors=(Expected,),
    retry=RetryPolicy(max_attempts=3, backoff=Exponential(base_s=1, factor=2, max_s=10)),
):
    """Publishes to any topic, and ends in any way."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._errors = [type(f"Error{n}", (Exception,), {}) for n in range(1000)]

    async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
        match self._draw.randrange(40):
            case 0:
                raise self._draw.choice(self._errors)(f"order {event.n} failed")
            case 1:
                raise Expected(ctx.message_id)
            case 2:
                return DeadLetter(f"no customer {event.n}")
            case 3:
                return Requeue(delay_s=self._draw.random() * 10_000)
            case 4:
                ctx.publish_raw(f"topic-{event.n}", b"raw")
        return None


class Quiet:
    """A log that nobody reads."""

    def bind(self, **_: object) -> "Quiet":
        return self

    def info(self, event: str, /, **fields: object) -> None:
        pass

    debug = warning = error = exception = info


class Consumer:
    """Takes what the subscription asks for, and leaves the delivery to the test."""

    def __init__(
        self, _options: object, *, on_messages: Callable[[Sequence[Any]], None], **_: object
    ) -> None:
        self.deliver = on_messages

    def pause(self) -> None:
        pass

    resume = trial = pause

    def set_max_in_flight(self, count: int) -> None:
        pass


def message(draw: random.Random, number: int) -> FakeMessage:
    """Return a message with an id, a type, a body and attempts of its own."""
    data = {"n": number} if draw.random() < 0.99 else {"n": str(number), f"field{number}": number}
    kind = "labels.happened.v1" if draw.random() < 0.99 else f"labels.other{number}.v{number}"
    envelope = {
        "specversion": "1.0",
        "type": kind,
        "source": f"shop{number}",
        "id": f"id-{number}",
        "data": data,
    }
    body = json.dumps(envelope).encode() if draw.random() < 0.99 else draw.randbytes(20)
    return FakeMessage(
        body,
        id_=b"%016x" % draw.getrandbits(64),
        attempts=draw.choices((1, 2, 3, 20), (950, 30, 19, 1))[0],
        timestamp_ns=draw.randrange(2**62),
        topic=draw.choice(Anything.spec.topics),
        address=f"nsqd{number}:4150",
        received_s=time.monotonic(),
    )


def series(metrics: Metrics) -> set[tuple[str, tuple[str, ...]]]:
    return {(name, labels) for name, found in metrics.snapshot().families.items() for labels in found.labels}


@pytest.mark.slow
async def test_a_hundred_thousand_messages_add_no_series() -> None:
    draw = random.Random(SEED)
    metrics = Metrics()
    make_consumer: Any = Consumer
    parts = WorkerParts(
        settings=Settings(nsqd=("nsqd:4150",)),
        metrics=metrics,
        publishes=FakePublishes([]),
        make_consumer=make_consumer,
        max_msg_bytes=1_000_000,
        log=Quiet(),
    )
    subscription = Subscription(ReadyHandler(Anything(draw), Hooks()), parts)
    count_published("no topic of an event", None)
    before = series(metrics)
    consumer: Any = subscription.consumer
    for first in range(0, MESSAGES, CHUNK):
        consumer.deliver([message(draw, number) for number in range(first, first + CHUNK)])
        while subscription.intake.held:
            await turns()  # fresh messages are handled in the next one
            await subscription.intake.wait_empty()
    subscription.close()
    (row,) = metrics.summary()
    assert row.received == MESSAGES
    assert min(row.success, row.requeued, row.dead_lettered) > MESSAGES // 200
    assert series(metrics) == before

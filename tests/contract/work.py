"""Work: the handler that the tests of delivery give to their workers, and what they ask about it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from nsqkit import Context, Exponential, Handler, Outcome, RetryPolicy, Worker, event
from tests.contract.conftest import TOPIC, Engine

QUICK = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=0.05, factor=1, max_s=0.05, jitter="none"))


@event("contract.asked", version=1, topic=TOPIC)
@dataclass(frozen=True)
class Asked:
    n: int
    what: str = ""


Behave = Callable[[Asked, Context], Any]


def working(behave: Behave, channel: str = "work", **options: Any) -> type[Handler[Asked]]:
    """Return a handler class that does as it is told."""
    usual: Any = {"name": named(channel), "retry": QUICK, "on_unknown": "discard"}

    class Work(Handler[Asked], channel=channel, **(usual | options)):
        async def handle(self, event: Asked, ctx: Context) -> Outcome | None:
            outcome: Any = behave(event, ctx)
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
            return cast("Outcome | None", outcome)

    return Work


def named(channel: str) -> str:
    """Return the name of the handler on a channel, since several may be in one worker."""
    return "Work" if channel == "work" else f"Work-{channel.removesuffix('#ephemeral')}"


def working_plainly(behave: Behave, **options: Any) -> type[Handler[Asked]]:
    """Return a plain handler class that does as it is told."""

    class Work(Handler[Asked], channel="work", **({"retry": QUICK, "on_unknown": "discard"} | options)):
        def handle(self, event: Asked, ctx: Context) -> Outcome | None:
            return cast("Outcome | None", behave(event, ctx))

    return Work


class Seen:
    """A handler's notes of what it was called with: (n, attempts)."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, event: Asked, ctx: Context) -> None:
        self.calls.append((event.n, ctx.attempts))

    @property
    def numbers(self) -> list[int]:
        return sorted(n for n, _ in self.calls)


def body(n: int, what: str = "") -> bytes:
    return json.dumps({"n": n, "what": what}).encode()


def count(worker: Worker, name: str, channel: str = "work", topic: str = TOPIC, **labels: str) -> int:
    """Return what /metrics shows of the handler on a channel."""
    handler = {"topic": topic, "channel": channel, "handler": named(channel)}
    value = worker.metrics.registry.get_sample_value(f"nsqkit_{name}", handler | labels)
    assert value is not None, f"no metric {name} {labels}"
    return int(value)


def outcome(worker: Worker, name: str, channel: str = "work") -> int:
    return count(worker, "messages_processed_total", channel, outcome=name)


async def accounts(
    engine: Engine, worker: Worker, channel: str = "work", *, retries: bool = False, timeouts: int = 0
) -> None:
    """Check the accounting of DESIGN section 2: our own sum, and nsqd's own counts."""
    names = ("success", "requeue", "dead_letter", "discard", "duplicate", "lease_lost")
    ends = {name: outcome(worker, name, channel) for name in names}
    assert count(worker, "in_flight", channel) == 0
    assert count(worker, "messages_received_total", channel) == sum(ends.values())
    stats = [await engine.channel(TOPIC, channel)]
    if retries:
        stats.append(await engine.channel(f"{TOPIC}.{channel}.retry", channel))
    nsqd = {
        name: sum(each[name] for each in stats)
        for name in ("message_count", "requeue_count", "timeout_count")
    }
    assert nsqd == {
        "message_count": ends["success"] + ends["dead_letter"] + ends["discard"] + ends["duplicate"],
        "requeue_count": ends["requeue"],
        "timeout_count": timeouts,
    }
    for command in ("FIN", "REQ", "TOUCH"):
        assert count(worker, "settle_failures_total", channel, command=command) == 0

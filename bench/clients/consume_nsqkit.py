"""nsqkit's Worker with default settings: typed decode, policies, metrics served; one handler per topic."""

import asyncio
import os
import signal
from typing import Any

from bench.clients.events import TimedOrder
from bench.clients.sampler import sampled
from bench.clients.tally import Plan, Tally
from handlers.orders import OrderCreated
from nsqkit import Context, Handler, Settings, Worker
from tests.ports import free_port


def stop() -> None:
    """Stop the worker as a supervisor would, with SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def counting(plan: Plan, tally: Tally, topic: str) -> type[Handler[Any]]:
    """Return an async handler that only counts."""
    options: dict[str, Any] = {"name": f"Count.{topic}"} if len(plan.topics) > 1 else {}

    class Count(
        Handler[OrderCreated],
        topic=topic,
        channel=plan.channel,
        max_in_flight=plan.max_in_flight,
        **options,  # earlier commits know no name
    ):
        async def handle(self, event: OrderCreated, ctx: Context) -> None:  # noqa: ARG002 - decoding is the work
            if tally.tick():
                stop()

    return Count


def plain(plan: Plan, tally: Tally, topic: str) -> type[Handler[Any]]:
    """Return a plain handler that only counts, on the event loop or in the thread pool."""

    class Count(
        Handler[OrderCreated],
        topic=topic,
        channel=plan.channel,
        max_in_flight=plan.max_in_flight,
        run_on_loop=plan.variant == "on loop",
    ):
        def handle(self, event: OrderCreated, ctx: Context) -> None:  # noqa: ARG002 - decoding is the work
            if tally.tick():
                stop()

    return Count


def timing(plan: Plan, tally: Tally, topic: str) -> type[Handler[Any]]:
    """Return an async handler that records the latency of its event, then sleeps."""
    hold_s = plan.hold_ms / 1000

    class Time(Handler[TimedOrder], topic=topic, channel=plan.channel, max_in_flight=plan.max_in_flight):
        async def handle(self, event: TimedOrder, ctx: Context) -> None:  # noqa: ARG002 - the framework's signature
            is_last = tally.came(event.sent_ns)
            if hold_s:
                await asyncio.sleep(hold_s)
            if is_last:
                stop()

    return Time


def timing_plain(plan: Plan, tally: Tally, topic: str) -> type[Handler[Any]]:
    """Return a plain handler that records the latency of its event, on the loop or in the thread pool."""

    class Time(
        Handler[TimedOrder],
        topic=topic,
        channel=plan.channel,
        max_in_flight=plan.max_in_flight,
        run_on_loop=plan.variant == "on loop",
    ):
        def handle(self, event: TimedOrder, ctx: Context) -> None:  # noqa: ARG002 - the framework's signature
            if tally.came(event.sent_ns):
                stop()

    return Time


def holding(plan: Plan, tally: Tally, topic: str) -> type[Handler[Any]]:
    """Return an async handler that waits until all messages arrived, then measures the memory."""
    everything = asyncio.Event()
    rss_bytes = [0, 0]
    held = [0]

    class Hold(Handler[OrderCreated], topic=topic, channel=plan.channel, max_in_flight=plan.max_in_flight):
        async def handle(self, event: OrderCreated, ctx: Context) -> None:  # noqa: ARG002 - it only waits
            if held[0] == 0:
                rss_bytes[0] = resident_bytes()
                tally.start()
            held[0] += 1
            if held[0] == plan.count:
                rss_bytes[1] = resident_bytes()
                tally.report(rss_bytes=rss_bytes)
                everything.set()
                stop()
            await everything.wait()

    return Hold


def resident_bytes() -> int:
    """Return the current resident memory of the process, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - allocates less
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handler(plan: Plan, tally: Tally, topic: str) -> type[Handler[Any]]:
    """Return the handler of the plan's variant."""
    if plan.variant == "hold":
        return holding(plan, tally, topic)
    if plan.variant in {"on loop", "in threads"}:
        return (timing_plain if plan.is_timed else plain)(plan, tally, topic)
    return (timing if plan.is_timed else counting)(plan, tally, topic)


def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    tally = Tally(plan.count)
    handlers = [handler(plan, tally, topic) for topic in plan.topics]
    settings = Settings(
        nsqd=(plan.address,),
        admin_port=free_port(),
        event_loop="uvloop" if plan.variant == "on uvloop" else "asyncio",
        rdy="fixed" if plan.variant == "fixed RDY" else "auto",
    )
    with sampled(is_wanted=plan.variant == "sampled"):
        Worker(handlers, settings=settings).run()


if __name__ == "__main__":
    main()

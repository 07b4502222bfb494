"""nsqkit's Worker as in consume_nsqkit, but one message in twenty fails once.

The variant ``watched`` writes the lines of these failures for people, and another process scrapes the metrics
as OpenMetrics; without it nothing is written or scraped.
"""

import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress

from bench.clients.consume_nsqkit import stop
from bench.clients.tally import Plan, Tally
from handlers.orders import OrderCreated
from nsqkit import Context, Handler, Requeue, RetryPolicy, Settings, Worker, configure_logs
from tests.ports import free_port

FAILS_EACH = 20
SCRAPE_S = 0.25
"""Twenty times as often as every 5 s, since a round is short."""


class RefusedError(Exception):
    """What the handler raises; its message comes again at once."""


def failing(plan: Plan, tally: Tally) -> type[Handler[OrderCreated]]:
    """Return an async handler that refuses one message in twenty at its first attempt."""
    calls = iter(range(sys.maxsize))

    class Fail(
        Handler[OrderCreated],
        topic=plan.topic,
        channel=plan.channel,
        max_in_flight=plan.max_in_flight,
        retry=RetryPolicy(on={RefusedError: Requeue(0.0)}),
    ):
        async def handle(self, event: OrderCreated, ctx: Context) -> None:
            if next(calls) % FAILS_EACH == 0 and ctx.attempts == 1:
                raise RefusedError(f"order {event.order_id} is refused")
            if tally.tick():
                stop()

    return Fail


def scrape(port: int) -> None:
    """Scrape the metrics again and again; the worker ends this process."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    while True:
        # The worker may not have started, or may have ended.
        with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own worker
            answer.read()
        time.sleep(SCRAPE_S)  # between two scrapes


def main() -> None:
    """Carry out the plan."""
    if sys.argv[1].isdigit():
        scrape(int(sys.argv[1]))
    plan = Plan.given()
    tally = Tally(plan.count)
    is_watched = plan.variant == "watched"
    settings = Settings(
        nsqd=(plan.address,),
        admin_port=free_port(),
        log_format="console",
        log_level="info" if is_watched else "critical",
    )
    configure_logs(settings)
    worker = Worker([failing(plan, tally)], settings=settings)
    with ExitStack() as stack:
        if is_watched:
            command = [sys.executable, "-m", "bench.clients.consume_watched", str(settings.admin_port)]
            scraper = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))  # noqa: S603
            stack.callback(scraper.kill)
        worker.run()


if __name__ == "__main__":
    main()

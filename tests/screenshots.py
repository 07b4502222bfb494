"""Makes the screenshots of docs/operating.md: the sample handlers get into trouble, and Chromium looks on.

Run it with scripts/screenshots.
"""

import asyncio
import base64
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from handlers import orders
from nsqkit import Settings, Worker, configure_logs, resource
from nsqkit.devbroker import DevBroker
from nsqkit.ops.publish import repeat_feeds
from tests.chromium import MISSING, Tab, browser, chromium
from tests.ports import free_port
from tests.waiting import until

DOCS = Path(__file__).parents[1] / "docs"
FEED = (("orders", DOCS.parent / "examples" / "data" / "orders.jsonl"),)
HANDLERS = (orders.ReserveStock, orders.ChargePayment, orders.NotifyCustomer, orders.SalesTotals)
WIDTH, HEIGHT = 1024, 720
MOST_BYTES = 150_000
OLD_S = 130.0
"""Until the worker is older than the two minutes in which the page suspects the code."""
SEEN_S = 45.0
"""For how long trouble goes on before it is shown."""
PATIENCE_S = 120.0


@asynccontextmanager
async def shop(tab: Tab, gateway: orders.Gateway, **app: float) -> AsyncIterator[None]:
    """Run the sample handlers on an embedded broker with the sample orders, and open the monitor page."""

    @resource
    async def sample_gateway() -> AsyncIterator[orders.Gateway]:
        yield gateway

    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    settings = Settings(
        nsqd=(broker.tcp_address,),
        nsqd_http=(broker.http_address,),
        admin_port=free_port(),
        lookupd_poll_s=5.0,
        feed_rate=20.0,
        service="shop",
        log_level="error",
        app=app,
    )
    configure_logs(settings)
    worker = Worker(HANDLERS, settings=settings, resources=[sample_gateway, orders.warehouse])
    await worker.start()
    feeding = asyncio.create_task(repeat_feeds(FEED, settings))
    try:
        await tab.open(f"http://127.0.0.1:{settings.admin_port}/", width=WIDTH)
        yield
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        await worker.stop()
        await broker.stop()


async def verdict(tab: Tab, holds: Callable[[str], object]) -> None:
    """Wait until the page has a verdict."""
    await until(lambda: tab.text("#verdict .v-line"), holds, PATIENCE_S)


async def open_errors(tab: Tab, name: str) -> None:
    """Open the row of a handler, and the first group of its errors."""
    await tab.evaluate(f"document.querySelector('.row[data-name={name}] .rowbtn').click()")
    await until(lambda: tab.text(".error summary"))
    await tab.evaluate("document.querySelector('.error').open = true")
    await until(lambda: tab.text(".example"))


async def save(tab: Tab, name: str) -> None:
    """Write what the window shows into the docs."""
    size: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    await tab.send("Emulation.setDeviceMetricsOverride", **size)
    shot = base64.b64decode((await tab.send("Page.captureScreenshot", format="png"))["data"])
    file = DOCS / f"operating-{name}.png"
    file.write_bytes(shot)
    sys.stderr.write(f"{file.name}: {len(shot):,} bytes\n")
    if len(shot) > MOST_BYTES:
        sys.exit(f"screenshots: {file.name} has more than {MOST_BYTES:,} bytes")


async def poison_and_dependency(tab: Tab) -> None:
    """Messages that can never succeed, then a gateway that no longer answers."""
    gateway = orders.Gateway(0.01)
    async with shop(tab, gateway):
        await asyncio.sleep(OLD_S)  # until the worker is that old
        await open_errors(tab, "ReserveStock")
        await save(tab, "poison")
        await tab.evaluate("document.querySelector('.row.open .rowbtn').click()")
        gateway.failure_ratio = 0.9
        await asyncio.sleep(SEEN_S)  # until the trouble has lasted that long
        await verdict(tab, lambda line: "looks like a dependency" in line.lower() or "GatewayError" in line)
        await save(tab, "dependency")


async def saturation(tab: Tab) -> None:
    """A handler that blocks the event loop."""
    async with shop(tab, orders.Gateway(0.01), totals_latency_s=0.2):
        await verdict(tab, lambda line: "process is saturated" in line)
        await asyncio.sleep(SEEN_S)  # until the trouble has lasted that long
        await save(tab, "saturation")


_STORIES = (poison_and_dependency, saturation)


async def main() -> None:
    """Make all screenshots, or those of the stories that are named."""
    program = chromium()
    if program is None:
        sys.exit(MISSING)
    for story in _STORIES:
        if sys.argv[1:] and story.__name__ not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            async with browser(program, Path(folder)) as tab:
                await story(tab)


if __name__ == "__main__":
    asyncio.run(main())

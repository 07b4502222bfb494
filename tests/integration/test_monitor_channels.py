"""The monitor reads a real nsqd: its list of clients names other workers, and its counts are compared."""

import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from nsqkit import Context, Handler, Publisher, Requeue, Settings, Worker, event
from nsqkit.monitor.channels import Channels
from nsqkit.monitor.track import Track
from nsqkit.nsq import Connection, ConnectionOptions
from nsqkit.policy.agreement import LEAST_S
from nsqkit.telemetry.metrics import Metrics
from tests.integration.conftest import Server
from tests.waiting import until

pytestmark = pytest.mark.nsqd
PARCELS = 30
LABELS = ("monitor-parcels", "weigh", "Weigh")


@event("monitor.parcel.packed", version=1, topic=LABELS[0])
@dataclass(frozen=True)
class ParcelPacked:
    number: int


class Weigh(Handler[ParcelPacked], channel=LABELS[1], max_in_flight=4):
    calls = 0

    async def handle(self, event: ParcelPacked, ctx: Context) -> Requeue:
        Weigh.calls += 1
        return Requeue(0.0)


@pytest.fixture
async def settings(nsqd: Server) -> AsyncIterator[Settings]:
    settings = Settings(nsqd=(nsqd.tcp_address,), nsqd_http=(nsqd.http_address,), service="own", admin_port=0)
    worker = Worker([Weigh], settings=settings)
    await worker.start()
    await worker.wait_ready()
    yield settings
    await worker.stop()


async def test_a_real_nsqd_names_the_other_worker_and_its_requeues_are_shown(
    settings: Settings, nsqd: Server
) -> None:
    channels = Channels(lambda: settings)
    track = Track(Metrics().for_handler(*LABELS).counts())
    seconds = itertools.count(step=LEAST_S)

    async def shown() -> dict[str, object]:
        await channels.read([LABELS], 1, lambda: float(next(seconds)))
        return channels.shown(LABELS, track)

    assert await until(shown) == {"other_workers": [], "nsqd_counts": None}
    other = Connection(nsqd.tcp_address, ConnectionOptions(user_agent="other/1"), on_messages=lambda _: None)
    await other.open()
    await other.subscribe(*LABELS[:2])
    try:
        found = await until(shown, lambda found: bool(found["other_workers"]))
        assert found["other_workers"] == [socket.gethostname()]
        async with Publisher(settings=settings) as publisher:
            await publisher.publish_many([ParcelPacked(number) for number in range(PARCELS)])
        await until(lambda: Weigh.calls >= 2 * PARCELS)
        counts = (await shown())["nsqd_counts"]
        assert isinstance(counts, dict)
        assert (counts["here"], counts["seconds"]) == (0, LEAST_S)
        assert counts["nsqd"] >= PARCELS, "requeues that this history does not have"
    finally:
        other.close()

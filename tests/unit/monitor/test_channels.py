"""Channels: another worker on a channel is named, and where nsqd's counts differ the page shows both."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from nsqkit import Context, Handler, Requeue, Settings, Worker, event
from nsqkit.devbroker import DevBroker
from nsqkit.monitor.channels import Channels
from nsqkit.monitor.track import Track
from nsqkit.policy.agreement import LEAST_S, Reading
from nsqkit.telemetry.metrics import Metrics
from tests.waiting import until

LABELS = ("monitored-channel", "read", "Read")


@event("monitored.channel", version=1, topic=LABELS[0])
@dataclass
class Came:
    """Nothing but its name."""


class Read(Handler[Came], channel=LABELS[1]):
    async def handle(self, event: Came, ctx: Context) -> Requeue:
        return Requeue(0.0)


@pytest.fixture
async def settings(broker: DevBroker) -> AsyncIterator[Settings]:
    given = Settings(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,), admin_port=0)
    worker = Worker([Read], settings=given)
    await worker.start()
    await worker.wait_ready()
    yield given
    await worker.stop()


def _track() -> Track:
    return Track(Metrics().for_handler(*LABELS).counts())


async def test_other_workers_are_named(settings: Settings) -> None:
    channels = Channels(lambda: settings)

    async def others(workers: int) -> object:
        await channels.read([LABELS], workers, lambda: 100.0)
        return channels.shown(LABELS, _track())["other_workers"]

    assert await until(lambda: others(0)) == [socket.gethostname()], "these workers have no connection"
    assert await others(1) == []


@pytest.mark.parametrize(
    ("last", "counts"),
    [
        pytest.param(
            Reading(140, {("a", "t"): 60}, ()), {"seconds": 40, "nsqd": 55, "here": 40}, id="they differ"
        ),
        pytest.param(Reading(140, {("a", "t"): 46}, ()), None, id="they agree"),
        pytest.param(Reading(110, {("a", "t"): 60}, ()), None, id="too early to know"),
    ],
)
def test_counts_are_shown_where_they_differ(last: Reading, counts: dict[str, int] | None) -> None:
    track = _track()
    for second in range(100, 141):
        track.put(second, track.counts._replace(requeued=track.counts.requeued + 1))
    channels = Channels(Settings)
    assert channels.shown(LABELS, track) == {"other_workers": [], "nsqd_counts": None}
    channels._take(LABELS, Reading(100, {("a", "t"): 5}, ()))
    channels._take(LABELS, last)
    assert channels.shown(LABELS, track)["nsqd_counts"] == counts


async def test_an_nsqd_that_is_away_changes_nothing() -> None:
    channels = Channels(lambda: Settings(nsqd_http=("127.0.0.1:1",)))
    await channels.read([LABELS], 1, lambda: 1.0)
    assert channels.shown(LABELS, _track()) == {"other_workers": [], "nsqd_counts": None}


def test_it_is_read_once_in_thirty_seconds() -> None:
    channels = Channels(Settings)
    turns = [second for second in range(100, 100 + 2 * LEAST_S) if channels.take_turn(second)]
    assert turns == [100, 100 + LEAST_S]

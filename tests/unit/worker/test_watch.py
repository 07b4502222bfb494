"""Watch: what is known about a worker's topics is shown with its handlers; see also test_ready.py."""

from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import Context, Handler, Settings, event
from nsqkit.admin import HandlerState, IntakeState
from nsqkit.background import Background
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.pauses import Pauses
from nsqkit.policy.connection_state import ConnectionState
from nsqkit.policy.registration import Pair
from nsqkit.policy.stall import ChannelCounts
from nsqkit.telemetry.metrics import Metrics
from nsqkit.worker.hangs import Hangs
from nsqkit.worker.watch import Watch
from tests.unit.runtime.bench import RecordingLog

NOBODY = "127.0.0.1:1"
LOST = ConnectionState.DISCONNECTED
WAITING = ChannelCounts(depth=7, left=2, returned=0, is_paused=False, in_flight=2, deferred=3)
REPLAYED = ChannelCounts(depth=2, left=0, returned=0, is_paused=False)


@event("watch.happened", version=1, topic="watched")
@dataclass
class Happened:
    n: int = 0


class Stock(Handler[Happened], channel="stock"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


class Tail(Handler[Happened], channel="tail#ephemeral"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


def watch(handler: type[Handler[Any]], metrics: Metrics, *lookupd: str) -> Watch:
    lookup = Lookup(lookupd) if lookupd else None
    log = RecordingLog()
    settings = Settings(lookupd=lookupd)
    return Watch([handler.spec], settings, lookup, metrics=metrics, log=log, background=Background(log))


def consume(watching: Watch) -> None:
    options = ConsumerOptions(
        topics=Stock.spec.topics, channel="stock", connection=ConnectionOptions(), max_in_flight=1
    )
    watching.consumer(
        options, on_messages=lambda _: None, on_settle_failure=lambda _: None, log=RecordingLog()
    )


def state(handler: type[Handler[Any]]) -> HandlerState:
    spec = handler.spec
    return HandlerState(spec.name, spec.topic, spec.channel, 0, 1, IntakeState.RUNNING, problems=("other",))


def test_what_is_not_known_is_shown_as_that_and_why_it_is_not_ready() -> None:
    shown = watch(Stock, Metrics(), NOBODY).shown(state(Stock))
    assert (shown.has_producer, shown.paused_in_nsqd) == (None, None)
    assert shown.problems == ("other", f"nsqlookupd {NOBODY}: the channels are not registered yet")


@pytest.mark.parametrize(
    ("handler", "lookupd"), [(Stock, ()), (Tail, (NOBODY,))], ids=["no nsqlookupd", "an ephemeral channel"]
)
async def test_nothing_to_register_is_ready(handler: type[Handler[Any]], lookupd: tuple[str, ...]) -> None:
    watching = watch(handler, Metrics(), *lookupd)
    assert watching.problems == ()
    await watching.wait_ready()
    await watching.close()


async def test_only_nsqd_that_are_subscribed_or_may_hang_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching = watch(Stock, Metrics())
    live: set[str] = set()
    monkeypatch.setattr(Consumer, "live_http_addresses", live)
    consume(watching)
    assert watching._addresses() == frozenset()
    live.add("a:4151")
    assert watching._addresses() == {"a:4151"}
    monkeypatch.setattr(Hangs, "http_addresses", {"silent:4151"})
    assert watching._addresses() == {"a:4151", "silent:4151"}
    await watching.close()


@pytest.mark.parametrize(
    ("is_paused", "answer", "shown"),
    [
        pytest.param(None, None, {}, id="nsqd has never answered over HTTP"),
        pytest.param(True, None, {"paused": 1}, id="it does not answer any more"),
        pytest.param(
            False,
            {("watched", "stock"): WAITING, ("watched.stock.retry", "stock"): REPLAYED},
            {"paused": 0, "depth": 9, "in_flight": 2, "deferred": 3},
            id="the messages of both topics",
        ),
        pytest.param(
            False,
            {},
            {"paused": 0, "depth": 0, "in_flight": 0, "deferred": 0},
            id="the channel is not there yet",
        ),
    ],
)
async def test_the_channel_of_a_handler_is_shown_for_each_nsqd(
    monkeypatch: pytest.MonkeyPatch,
    is_paused: bool | None,  # noqa: FBT001 - a parameter of the test
    answer: dict[Pair, ChannelCounts] | None,
    shown: dict[str, int],
) -> None:
    monkeypatch.setattr(Pauses, "is_paused", lambda *_: is_paused)
    monkeypatch.setattr(Consumer, "states", {"a:4150": ConnectionState.SUBSCRIBED, "b:4150": LOST})
    monkeypatch.setattr(Consumer, "rdy", {"a:4150": 5})
    monkeypatch.setattr(Consumer, "http_address", lambda _, address: {"a:4150": "a:4151"}.get(address))
    metrics = Metrics()
    watching = watch(Stock, metrics)
    consume(watching)
    watching._on_poll({} if answer is None else {"a:4151": answer})
    found = metrics.snapshot()

    def of(name: str) -> dict[tuple[str, ...], int]:
        return {labels[3:]: each for labels, each in found.of(f"nsqkit_{name}").items()}

    names = {name: of(f"channel_{name}") for name in ("paused", "depth", "in_flight", "deferred")}
    assert names == {name: {("a:4150",): shown[name]} if name in shown else {} for name in names}
    assert of("rdy") == {("a:4150",): 5, ("b:4150",): 0}
    assert {labels for labels, each in of("connection_state").items() if each} == {
        ("a:4150", "subscribed"),
        ("b:4150", "disconnected"),
    }
    assert {labels[:3] for labels in found.of("nsqkit_rdy")} == {("watched", "stock", "Stock")}

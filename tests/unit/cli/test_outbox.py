"""`nsqkit relay` and `nsqkit outbox`: waiting events leave, parked ones are listed and replayed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from nsqkit import Settings
from nsqkit.devbroker import DevBroker
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import Database, outbox

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

Rows = Callable[..., list[int]]


@pytest.fixture
def rows(nsqkit: "Nsqkit", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Add rows to the outbox of a new database, which the settings name; some of them parked."""
    url = f"sqlite:///{tmp_path}/stock.sqlite"
    monkeypatch.setenv("NSQKIT_APP_STOCK_URL", url)
    Database("stock").upgrade(Settings(app={"stock_url": url}))

    def add(*topics: str, problem: str = "") -> list[int]:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            events = [Outgoing(topic, b"{}") for topic in topics]
            ids = outbox.store(connection, events, now_s=0.0, lease_s=0.0)
            for each in ids if problem else ():
                outbox.park(connection, each, problem, now_s=86_400.0)
        engine.dispose()
        return ids

    return add


def test_a_relay_publishes_what_waits(nsqkit: "Nsqkit", rows: Rows, threaded_broker: DevBroker) -> None:
    rows("relayed-a", "relayed-b", "relayed-b")
    command = ("relay", "stock", "--exit-when-idle", "--nsqd", threaded_broker.tcp_address)
    assert nsqkit(*command).out == "published 3, parked 0, not confirmed 0\n"
    assert nsqkit(*command).out == "published 0, parked 0, not confirmed 0\n"


def test_a_relay_needs_an_nsqd(nsqkit: "Nsqkit", rows: Rows) -> None:
    rows("relayed-c")
    result = nsqkit("relay", "stock", "--exit-when-idle")
    assert result.code == 2
    assert "no nsqd to publish to" in result.err


def test_a_relay_names_the_admin_port_that_it_cannot_use(
    nsqkit: "Nsqkit", rows: Rows, threaded_broker: DevBroker
) -> None:
    port = threaded_broker.http_address.rpartition(":")[2]
    given = ("--nsqd", threaded_broker.tcp_address, "--admin-port", port, "--exit-when-idle")
    result = nsqkit("relay", "stock", *given)
    assert result.code == 2
    assert f"admin_port={port} is in use on 127.0.0.1: choose another with --admin-port" in result.err


def test_parked_events_are_listed_and_replayed(nsqkit: "Nsqkit", rows: Rows) -> None:
    one, two = rows("big-a", "big-b", problem="too large")
    assert nsqkit("outbox", "ls", "stock").out.splitlines() == [
        f"{one}  1970-01-02T00:00:00Z  big-a  too large",
        f"{two}  1970-01-02T00:00:00Z  big-b  too large",
        "parked events: 2",
    ]
    assert nsqkit("outbox", "replay", "stock", str(one)).out == "events that a relay publishes again: 1\n"
    assert [each["id"] for each in json.loads(nsqkit("outbox", "ls", "stock", "--json").out)] == [two]
    assert nsqkit("outbox", "replay", "stock").out == "events that a relay publishes again: 1\n"

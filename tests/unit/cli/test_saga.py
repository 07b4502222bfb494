"""`nsqkit saga`: instances are listed and shown, and a person can resume or compensate one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from nsqkit import Settings
from nsqkit.handler.sagas import Moment
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql import Database
from nsqkit.sql.saga import store
from nsqkit.sql.saga.store import Instance

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

STOPPED = Progress(
    Status.NEEDS_ATTENTION,
    position=0,
    attempts=2,
    before=Status.COMPENSATING,
    reason="reserve/undo failed: away",
)


@pytest.fixture
def engine(nsqkit: "Nsqkit", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A database with two instances of a saga."""
    url = f"sqlite:///{tmp_path}/shop.sqlite"
    monkeypatch.setenv("NSQKIT_APP_SHOP_URL", url)
    Database("shop").upgrade(Settings(app={"shop_url": url}))
    found = sa.create_engine(url)
    with found.begin() as connection:
        store.add(
            connection, instance("o1", STOPPED, 10.0, "reserve started, attempt 1", "needs attention: x")
        )
        store.add(connection, instance("o2", Progress(due_s=86_460.0, attempts=1), 20.0, "reserve started"))
    return found


def instance(key: str, progress: Progress, changed_at: float, *notes: str) -> Instance:
    return Instance(
        saga="PlaceOrder",
        key=key,
        version=1,
        correlation_id=f"PlaceOrder/{key}",
        topic="saga.PlaceOrder",
        epoch=1,
        owner="shop@here:1",
        state='{"order_id":"' + key + '"}',
        progress=progress,
        notes=tuple(Moment(1.5 * number, text) for number, text in enumerate(notes)),
        started_at=0.0,
        changed_at=changed_at,
    )


def test_instances_are_listed_those_that_changed_last_first(nsqkit: "Nsqkit", engine: sa.Engine) -> None:
    assert nsqkit("saga", "ls", "shop").out.splitlines() == [
        "1970-01-01T00:00:20Z running  PlaceOrder  o2  v1",
        "1970-01-01T00:00:10Z needs_attention  PlaceOrder  o1  v1  reserve/undo failed: away",
        "instances: 2",
    ]
    found = json.loads(nsqkit("saga", "ls", "shop", "--status", "running", "--json").out)
    assert [(each["key"], each["due_at"]) for each in found] == [("o2", 86_460.0)]
    assert nsqkit("saga", "ls", "shop", "--saga", "Another").out == "instances: 0\n"


def test_an_instance_is_shown_with_its_timeline(nsqkit: "Nsqkit", engine: sa.Engine) -> None:
    assert nsqkit("saga", "show", "shop", "PlaceOrder", "o1").out.splitlines() == [
        "PlaceOrder o1, version 1: needs_attention",
        'state: {"order_id":"o1"}',
        "correlationid: PlaceOrder/o1",
        "",
        "1970-01-01T00:00:00Z",
        "    +0.000 s ├● reserve started, attempt 1",
        "    +1.500 s └✗ needs attention: x",
    ]
    assert (
        "next at: 1970-01-02T00:01:00Z, attempt 1" in nsqkit("saga", "show", "shop", "PlaceOrder", "o2").out
    )
    shown = json.loads(nsqkit("saga", "show", "shop", "PlaceOrder", "o2", "--json").out)
    assert shown["notes"] == [[0.0, "reserve started"]]


def test_an_unknown_instance_is_an_error(nsqkit: "Nsqkit", engine: sa.Engine) -> None:
    result = nsqkit("saga", "show", "shop", "PlaceOrder", "o9")
    assert result.code == 1
    assert result.err == (
        "error: saga PlaceOrder has no instance 'o9': none has started with this key, or it has ended and "
        "was deleted after saga_retention_s; `nsqkit saga ls` lists those there are\n"
    )


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        pytest.param(("resume",), '"signal":"resume"', id="resume"),
        pytest.param(("compensate", "--reason", "sold twice"), '"reason":"sold twice"', id="compensate"),
    ],
)
def test_a_person_asks_by_an_event_in_the_outbox(
    command: tuple[str, ...], asked: str, nsqkit: "Nsqkit", engine: sa.Engine
) -> None:
    result = nsqkit("saga", command[0], "shop", "PlaceOrder", "o1", *command[1:])
    assert result.out == f"asked PlaceOrder o1 to {command[0]}; a relay delivers it\n"
    with engine.connect() as connection:
        topic, body = connection.exec_driver_sql("SELECT topic, body FROM nsqkit_outbox").one()
    assert topic == "saga.PlaceOrder"
    assert asked in body.decode()


def test_a_check_names_instances_that_a_deploy_would_strand(
    nsqkit: "Nsqkit", engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "saga_checked.py").write_text(
        "from dataclasses import dataclass\n"
        "from nsqkit.sql import Database\n"
        "from nsqkit.sql.saga import Call, Saga, Step\n"
        "@dataclass(frozen=True)\n"
        "class Order:\n"
        "    order_id: str\n"
        "async def pack(self, order, call): ...\n"
        "class PlaceOrder(Saga[Order], version=7, on=Database('shop')):\n"
        "    steps = (Step('pack', Call(pack)),)\n",
        encoding="utf-8",
    )
    assert nsqkit("check", "saga_checked").out == "ok: 1 handler, no problems\n"
    result = nsqkit("check", "saga_checked", "--databases")
    assert result.code == 1
    assert "saga_checked.py:8: saga PlaceOrder: 1 open instance of version 1" in result.err

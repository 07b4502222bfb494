"""Groups: a class that stands for several handlers is as good as their list, to loaders and workers."""

import types
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import Context, Handler, HandlerError, LoadError, Settings, Worker, event
from nsqkit.handler.group import HandlerGroup, groups_of, ungrouped
from nsqkit.loading.loader import load
from nsqkit.loading.modules import groups_in
from nsqkit.testing import Harness


@event("lamp.lit", version=1, topic="grouped-lamps")
@dataclass(frozen=True)
class LampLit:
    lamp: str


class Count(Handler[LampLit], channel="count"):
    async def handle(self, event: LampLit, ctx: Context) -> None:
        pass


def _made(channel: str) -> type[Handler[Any]]:
    async def handle(_self: Any, _event: LampLit, _ctx: Context) -> None:
        pass

    bases = (Handler[LampLit],)
    body = {"handle": handle, "__module__": __name__, "__orig_bases__": bases}
    made = types.new_class(
        "Lamps",
        types.resolve_bases(bases),
        {"channel": channel, "name": f"Lamps.{channel}"},
        lambda names: names.update(body),
    )
    assert issubclass(made, Handler)
    return made


class Lamps(HandlerGroup):
    handlers = (_made("on"), _made("off"))


def test_a_group_is_replaced_by_its_handlers() -> None:
    assert ungrouped([Count, Lamps]) == (Count, *Lamps.handlers)


def test_a_module_has_the_handlers_of_its_groups() -> None:
    assert [spec.name for spec in load([__name__], Settings()).handlers] == ["Count", "Lamps.on", "Lamps.off"]


def test_one_group_of_a_module_can_be_run() -> None:
    specs = load([f"{__name__}:Lamps"], Settings()).handlers
    assert [spec.name for spec in specs] == ["Lamps.on", "Lamps.off"]


def test_mistakes_of_a_group_are_mistakes_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lamps, "problems", ("lamps.py:1: Lamps: has no switch",))
    with pytest.raises(LoadError, match="Lamps: has no switch"):
        load([__name__], Settings())


def test_an_imported_group_belongs_to_its_own_module() -> None:
    elsewhere = types.ModuleType("elsewhere")
    elsewhere.Lamps = Lamps  # type: ignore[attr-defined]
    assert groups_in(elsewhere) == []


async def test_a_harness_takes_groups() -> None:
    async with Harness([Lamps]) as h:
        await h.publish(LampLit("l1"))
        await h.settle()
        h.handled(LampLit("l1")).times(2)


def test_a_worker_takes_groups() -> None:
    worker = Worker([Lamps, Count], settings=Settings(nsqd=("127.0.0.1:4150",), admin_port=0))
    assert [spec.name for spec in worker.specs] == ["Lamps.on", "Lamps.off", "Count"]


def test_a_group_that_is_given_twice_is_a_mistake() -> None:
    with pytest.raises(HandlerError, match="the same topic 'grouped-lamps' and channel 'on'"):
        Harness([Lamps, Lamps])


def test_the_groups_of_handlers_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in Lamps.handlers:
        monkeypatch.setattr(each, "group", Lamps, raising=False)
    assert groups_of([Count.spec, *(each.spec for each in Lamps.handlers)]) == (Lamps,)

"""Declaration: a wrong class statement is refused when it is loaded, with what to change."""

import types
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from nsqkit import HandlerError, LoadError, Settings, event
from nsqkit.handler.group import ungrouped
from nsqkit.handler.mistakes import deferring
from nsqkit.loading.loader import load
from nsqkit.sql import Database
from nsqkit.sql.saga import Call, CallContext, Refused, Saga, Send, Step

team = Database("team")


@event("box.pack", version=1, topic="saga-boxes")
class PackBox(msgspec.Struct, frozen=True):
    box_id: str


@event("box.packed", version=1, topic="saga-boxes-packed")
class BoxPacked(msgspec.Struct, frozen=True):
    box_id: str


@event("box.weighed", version=1, topic="saga-boxes-weighed")
class BoxWeighed(msgspec.Struct, frozen=True):
    box_id: str


@event("box.lost", version=1)
class BoxLost(msgspec.Struct, frozen=True):
    box_id: str


@dataclass(frozen=True)
class Box:
    box_id: str


def pack(_self: Any, box: Box) -> PackBox:
    return PackBox(box.box_id)


def packed(_self: Any, box: Box, event: BoxPacked) -> Box:
    return box


def weighed(_self: Any, box: Box, event: BoxWeighed) -> Box:
    return box


async def call(_self: Any, box: Box, call: CallContext) -> None: ...
async def call_without_context(_self: Any, box: Box) -> None: ...
def plain_call(_self: Any, box: Box, call: CallContext) -> None: ...
def unannotated(_self: Any, box: Box): ...  # type: ignore[no-untyped-def] # noqa: ANN201 - the mistake
def no_event(_self: Any, box: Box) -> Box: ...  # type: ignore[empty-body]
def lost(_self: Any, box: Box) -> BoxLost: ...  # type: ignore[empty-body]
def on_lost(_self: Any, box: Box, event: BoxLost) -> None: ...
def on_anything(_self: Any, box: Box, event: Any) -> None: ...
async def on_packed(_self: Any, box: Box, event: BoxPacked) -> None: ...


def declared(steps: Any, **options: Any) -> type[Any]:
    """Execute a class statement with some steps and class keywords."""
    module = options.pop("module", __name__)
    body = {"steps": steps, "__module__": module, "__orig_bases__": (Saga[Box],)}
    return types.new_class(
        "Wrong", types.resolve_bases((Saga[Box],)), options, lambda names: names.update(body)
    )


PACK = Step("pack", Send(pack, replies=(packed,)))


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        pytest.param((), "has no steps; write steps = (Step(…), …)", id="no steps"),
        pytest.param([PACK, "weigh"], "steps has 'weigh'; every step is a Step(name, action)", id="no step"),
        pytest.param(
            [Step("pack box", Send(pack))], "the name is not of letters, digits, _ and -", id="a name"
        ),
        pytest.param([PACK, Step("pack", Call(call))], "two steps have this name", id="duplicate names"),
        pytest.param([Step("pack", packed)], "is no action; give Send(…) or Call(…)", id="no action"),  # type: ignore[arg-type]
        pytest.param([Step("pack", Send(pack, timeout_s=0))], "timeout_s=0 is not a number", id="no time"),
        pytest.param(
            [Step("x", Call(call, timeout_s=900))], "above 0, at most 840", id="longer than a lease"
        ),
        pytest.param([Step("x", Call(call, retry=3))], "write retry=RetryPolicy(…)", id="no policy"),  # type: ignore[arg-type]
        pytest.param([Step("x", Call(plain_call))], "must be async def plain_call(self", id="a plain call"),
        pytest.param(
            [Step("x", Call(call_without_context))], "must take (self, state, call)", id="no context"
        ),
        pytest.param([Step("x", Send(call))], "must be a plain def call(self, state)", id="no command"),
        pytest.param([Step("x", Send(unannotated))], "annotate what unannotated returns", id="no annotation"),
        pytest.param(
            [Step("x", Send(no_event))], "annotate what no_event returns", id="a command is an event"
        ),
        pytest.param([Step("x", Send(lost))], "command box.lost.v1 has no topic", id="a command has a topic"),
        pytest.param([Step("x", Send(pack, replies=packed))], "is not a tuple of methods", id="one reply"),  # type: ignore[arg-type]
        pytest.param(
            [Step("x", Send(pack, replies=(BoxPacked,)))], "has no handler; write a plain def", id="class"
        ),
        pytest.param(
            [Step("x", Send(pack, replies=(on_packed,)))], "has no handler; write a plain", id="async"
        ),
        pytest.param(
            [Step("x", Send(pack, replies=(on_anything,)))], "annotate the event of on_any", id="any"
        ),
        pytest.param(
            [Step("x", Send(pack, replies=(on_lost,)))], "reply box.lost.v1 has no topic", id="topic"
        ),
        pytest.param(
            [PACK, Step("again", Send(pack), undo=Send(pack, replies=(packed,)))],
            "step again/undo: its reply box.packed.v1 is a reply of pack too; give each its own",
            id="one reply of two actions",
        ),
    ],
)
def test_wrong_steps_are_refused(steps: Any, problem: str) -> None:
    with pytest.raises(HandlerError) as raised:
        declared(steps, version=1, on=team)
    (found,) = raised.value.problems
    assert "test_declaration.py:" in found
    assert problem in found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"version": None}, "add version=1 to the class keywords", id="no version"),
        pytest.param({"version": 0}, "version=0 is not a whole number", id="a version"),
        pytest.param({"on": None}, "write on=Database(…)", id="no database"),
        pytest.param({"name": "a b"}, "name='a b' is not a name of letters", id="a name"),
        pytest.param({"name": "x" * 80}, "is not a name of letters", id="a name too long for a topic"),
        pytest.param({"channel": "a b"}, "'a b'", id="a channel"),
        pytest.param({"channel": 5}, "channel=5 is not a string", id="no channel"),
        pytest.param({"older": [Box]}, "is no saga without mistakes", id="no older version"),
    ],
)
def test_wrong_class_keywords_are_refused(options: dict[str, Any], problem: str) -> None:
    wanted = {"version": 1, "on": team, **options}
    with pytest.raises(HandlerError, match="Wrong") as raised:
        declared((PACK,), **wanted)
    assert problem in str(raised.value)


def test_a_state_is_a_struct_or_a_dataclass() -> None:
    with pytest.raises(HandlerError, match="write Saga\\[YourState\\]"):

        class Stateless(Saga, version=1, on=team):  # type: ignore[type-arg]
            steps = (PACK,)


class PackOld(Saga[Box], name="PackBoxes", version=1, on=team):
    steps = (Step("weigh", Send(pack, replies=(weighed,))),)


class PackBoxes(Saga[Box], version=2, on=team, older=[PackOld]):
    steps = (PACK,)


def test_a_saga_has_a_handler_for_itself_and_one_for_each_topic_of_replies_of_all_versions() -> None:
    specs = [handler.spec for handler in ungrouped([PackBoxes])]
    assert [(spec.name, spec.topic, spec.channel) for spec in specs] == [
        ("PackBoxes", "saga.PackBoxes", "PackBoxes"),
        ("PackBoxes.saga-boxes-weighed", "saga-boxes-weighed", "PackBoxes"),
        ("PackBoxes.saga-boxes-packed", "saga-boxes-packed", "PackBoxes"),
    ]
    assert PackOld.handlers == ()


def test_an_older_version_has_the_name_and_a_lower_version() -> None:
    with pytest.raises(HandlerError, match="older version 2 of saga 'PackBoxes': give it name='Again'"):

        class Again(Saga[Box], version=3, on=team, older=[PackBoxes]):
            steps = (PACK,)


def test_a_name_and_version_belong_to_one_saga() -> None:
    declared((PACK,), version=2, on=team, name="Twice")
    with pytest.raises(HandlerError, match="another saga has the name 'Twice' and version 2"):
        declared((PACK,), version=2, on=team, name="Twice", module="elsewhere")


def test_a_saga_is_loaded_with_its_module() -> None:
    names = [spec.name for spec in load([__name__], Settings()).handlers]
    assert names == ["PackBoxes", "PackBoxes.saga-boxes-weighed", "PackBoxes.saga-boxes-packed"]


def test_mistakes_of_a_saga_are_reported_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    token = deferring.set(True)
    try:

        class Wrong(Saga[Box], version=1, on=team):
            steps = ()
    finally:
        deferring.reset(token)
    monkeypatch.setitem(globals(), "Wrong", Wrong)
    with pytest.raises(LoadError, match="Wrong: has no steps"):
        load([__name__], Settings())


def test_a_key_is_a_text() -> None:
    with pytest.raises(ValueError, match="give a text that is not empty"):
        PackBoxes.start("", Box("b"))


def test_a_refusal_says_why() -> None:
    assert Refused("sold out").reason == "sold out"

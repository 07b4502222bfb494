"""Brackets: a handler takes the events that its type says, through type variables, unions and aliases."""

import dataclasses
import subprocess
import sys
from typing import Annotated, Any, Generic, NewType, TypeVar

import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

from nsqkit import AnyEvent, BatchHandler, Context, DecodeError, Handler, event
from nsqkit.events.codec.decoder import Decoder
from nsqkit.handler.brackets import events_of
from nsqkit.handler.handler import AnyHandler

E = TypeVar("E", bound=AnyEvent)
Out = TypeVar("Out")
Given = TypeVar("Given")
Other = TypeVar("Other", bound=AnyEvent)


@event("test_brackets.asked", version=1, topic="test_brackets")
@dataclasses.dataclass
class Asked:
    id: str


@event("test_brackets.done", version=1, topic="test_brackets")
@dataclasses.dataclass
class Done:
    id: str


@event("test_brackets.page", version=1, topic="test_brackets_pages")
class Page(msgspec.Struct, Generic[E]):
    items: list[E]


@event("test_brackets.checked", version=1, topic="test_brackets_checked")
class CheckedPage(pydantic.BaseModel, Generic[Given]):
    items: list[Given]


class Team(Handler[E], Generic[Out, E], abstract=True): ...


class Swapped(Team[E, Other], Generic[E, Other], abstract=True): ...


class Half(Team[Done, E], abstract=True): ...


class WithDone(Handler[E | Done], Generic[E], abstract=True): ...


class Open(Team[Done, E], abstract=True): ...


class Mixin(Generic[Given]): ...


class Mixed(Mixin[Done], Handler[Asked], abstract=True): ...


class Batches(BatchHandler[E], Generic[Out, E], abstract=True): ...


NewAsked = NewType("NewAsked", Asked)
Alias = TypeAliasType("Alias", Asked | Done)
Pair = TypeAliasType("Pair", E | Done, type_params=(E,))


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        pytest.param(Team[Done, Asked], (Asked,), id="the second of two variables"),
        pytest.param(Swapped[Asked, Done], (Done,), id="variables in another order"),
        pytest.param(Half[Asked], (Asked,), id="one variable that is left"),
        pytest.param(WithDone[Asked], (Asked, Done), id="a union with a variable"),
        pytest.param(Mixed, (Asked,), id="another generic base"),
        pytest.param(Batches[Done, Asked], (Asked,), id="a batch handler"),
        pytest.param(Handler[Annotated[Asked, "why"]], (Asked,), id="Annotated"),
        pytest.param(Handler[Annotated[Asked | Done, "why"]], (Asked, Done), id="an annotated union"),
        pytest.param(Handler[NewAsked], (Asked,), id="NewType"),
        pytest.param(Handler[Alias], (Asked, Done), id="a type alias"),
        pytest.param(Handler[Pair[Asked]], (Asked, Done), id="a generic type alias"),
        pytest.param(Handler[Alias | Asked], (Asked, Done), id="the same event twice"),
        pytest.param(Open, (), id="a variable that nobody has replaced"),
        pytest.param(Handler, (), id="no brackets"),
    ],
)
def test_a_class_takes_what_its_brackets_say(base: Any, expected: tuple[type[Any], ...]) -> None:
    class Bases(msgspec.Struct):
        pass

    cls = type("Cls", (), {"__orig_bases__": (base,)})
    derived = type("Derived", (Handler,), {"__orig_bases__": (base,)}, abstract=True)
    assert events_of(derived, AnyHandler) == expected
    assert events_of(cls, AnyHandler) == ()


def test_a_handler_of_a_generic_event_reads_its_argument() -> None:
    class ReadPage(Handler[Page[Asked]], channel="page"):
        async def handle(self, event: Page[Asked], ctx: Context) -> None: ...

    class ReadChecked(Handler[CheckedPage[int]], channel="checked"):
        async def handle(self, event: CheckedPage[int], ctx: Context) -> None: ...

    pages = Decoder("test_brackets_pages", ReadPage.spec.event_types)
    assert pages.decode(b'{"items": [{"id": "1"}]}').event == Page([Asked("1")])
    checked = Decoder("test_brackets_checked", ReadChecked.spec.event_types)
    assert checked.decode(b'{"items": [1]}').event == CheckedPage[int](items=[1])
    for decoder in (pages, checked):
        with pytest.raises(DecodeError):
            decoder.decode(b'{"items": ["x"]}')


PEP_695 = """
from collections.abc import Iterator
from dataclasses import dataclass
import msgspec
from nsqkit import Context, Handler, event, resource
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.types import REGISTRY

@event("test_brackets.new", version=1, topic="new")
@dataclass
class New:
    id: str

type Some = New

class Team[Out, In](Handler[In], abstract=True): ...

class Read(Team[int, Some], channel="read"):
    async def handle(self, event: New, ctx: Context) -> None: ...

print(*(known.wire_type for known in Read.spec.event_types))

@event("test_brackets.page", version=1, topic="test_brackets.pages")
@dataclass
class Page[Item]:
    items: list[Item]

@event("test_brackets.sheet", version=1, topic="test_brackets.sheets")
class Sheet[Item](msgspec.Struct):
    item: Item

ctx = Context()
for sent, model in ((Page([New("1")]), Page[New]), (Sheet(New("1")), Sheet[New])):
    ctx.publish(sent)
    decoder = Decoder("test_brackets", (REGISTRY.of(model),))
    print(decoder.decode(ctx.outgoing[-1].body).event == sent)

type Own = New
type Owns = Iterator[Own]

@resource
def new() -> Owns:
    yield New("1")

print(new.provides is New)
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is new in Python 3.12")
def test_the_syntax_of_python_3_12_is_followed() -> None:
    done = subprocess.run([sys.executable, "-c", PEP_695], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["test_brackets.new.v1", "True", "True", "True"]

"""Events: which classes can be one, under which name, and how old versions are lifted."""

import dataclasses
import functools
from typing import Any

import msgspec
import pydantic
import pytest

from nsqkit.errors import EventError
from nsqkit.events.types import (
    REGISTRY,
    EventRegistry,
    EventType,
    Upcaster,
    event,
    is_model,
    upcast,
)

HERE = __name__


@dataclasses.dataclass
class Plain:
    total: int


class Packed(msgspec.Struct):
    total: int


class Checked(pydantic.BaseModel):
    total: int


class Neither:
    total: int


def _upcaster(mark: str) -> Upcaster:
    def lift(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "lifted": f"{data.get('lifted', '')}{mark}"}

    lift.__qualname__ = f"lift_{mark}"
    return lift


@pytest.mark.parametrize("model", [Plain, Packed, Checked])
def test_a_model_of_each_kind_can_be_an_event(model: type[Any]) -> None:
    name = f"test_events.{model.__name__}"
    assert event(name, version=2, topic="test_events")(model) is model
    assert REGISTRY.of(model) == EventType(name, 2, "test_events", model)
    assert is_model(model)


def test_the_wire_type_is_the_name_and_the_version() -> None:
    assert EventType("order.created", 3, None, Plain).wire_type == "order.created.v3"


def test_an_event_has_no_topic_unless_told() -> None:
    @event("test_events.homeless", version=1)
    @dataclasses.dataclass
    class Homeless:
        pass

    assert REGISTRY.of(Homeless).topic is None


@pytest.mark.parametrize(
    "name", ["order", "order.created", "order-created", "order_created.by-hand.2", "bestellung.erfüllt"]
)
def test_an_event_name_is_words_joined_by_dots(name: str) -> None:
    @event(f"test_events.name.{name}", version=1)
    @dataclasses.dataclass
    class Named:
        pass

    assert REGISTRY.of(Named).wire_type == f"test_events.name.{name}.v1"


@pytest.mark.parametrize(
    ("model", "name", "version", "topic", "problem"),
    [
        pytest.param(
            Neither,
            "order.created",
            1,
            None,
            "Neither: @event('order.created') needs a dataclass, a msgspec.Struct or a pydantic model; "
            "if it is a dataclass, put @event above @dataclass",
            id="a class of no kind, or decorated in the wrong order",
        ),
        *(
            pytest.param(
                Plain,
                name,
                1,
                None,
                f"Plain: event name {name!r} must be words of letters and digits joined by dots, "
                "like order.created",
                id=why,
            )
            for name, why in [
                ("", "an empty name"),
                (".created", "an empty first word"),
                ("order.", "an empty last word"),
                ("order..created", "an empty word"),
                ("order created", "a space"),
                ("order/created", "a slash"),
                ("order.created\n", "a line break at the end"),
            ]
        ),
        *(
            pytest.param(
                Plain,
                "order.created",
                version,
                None,
                f"Plain: version={version!r} must be a whole number of 1 or more",
                id=why,
            )
            for version, why in [
                (0, "version 0"),
                (-1, "a negative version"),
                (1.0, "a fractional version"),
                ("1", "a text as version"),
                (True, "a boolean as version"),
            ]
        ),
        pytest.param(
            Plain,
            "order.created",
            1,
            "or ders",
            "Plain: topic name 'or ders' has characters outside A-Z a-z 0-9 . _ - (and a final #ephemeral)",
            id="a topic that nsqd refuses",
        ),
        pytest.param(Plain, "order.created", 1, "", "Plain: topic name is empty", id="an empty topic"),
    ],
)
def test_what_cannot_be_an_event_is_refused(
    model: type[Any], name: str, version: Any, topic: str | None, problem: str
) -> None:
    with pytest.raises(EventError) as caught:
        event(name, version=version, topic=topic)(model)
    assert str(caught.value) == f"{HERE}.{problem}"


def test_a_class_that_is_no_event_is_named_with_what_to_write() -> None:
    with pytest.raises(EventError) as caught:
        EventRegistry().of(Neither)
    assert str(caught.value) == (
        f'{HERE}.Neither is not an event: decorate it with @event("some.name", version=1)'
    )


def test_a_producers_own_type_is_the_wire_type() -> None:
    @event("test_events.blob", type="Microsoft.Storage.BlobCreated")
    @dataclasses.dataclass
    class Blob:
        url: str

    known = REGISTRY.of(Blob)
    assert (known.wire_type, known.name, known.version) == (
        "Microsoft.Storage.BlobCreated",
        "test_events.blob",
        1,
    )


@pytest.mark.parametrize("exact", ["", "a\nb", 7])
def test_a_producers_type_is_a_text(exact: Any) -> None:
    with pytest.raises(EventError, match=r"type=.* must be the text that producers send"):
        event("order.created", version=1, type=exact)(Plain)


def test_an_event_needs_a_version_or_a_type() -> None:
    with pytest.raises(EventError, match="version=None must be a whole number"):
        event("order.created")(Plain)  # type: ignore[call-overload]


@pytest.mark.parametrize("exact", ["order.created.v1", "com.example.created"])
def test_a_type_that_another_event_has_is_refused(exact: str) -> None:
    registry = EventRegistry()
    registry.add(EventType("order.created", 1, None, Plain))
    registry.add(EventType("order.made", 1, None, Checked, "com.example.created"))
    with pytest.raises(EventError) as caught:
        registry.add(EventType("order.other", 1, None, Packed, exact))
    assert f"{exact} is already the event" in str(caught.value)
    assert str(caught.value).endswith("; remove one")


def test_two_classes_cannot_be_the_same_event() -> None:
    registry = EventRegistry()
    registry.add(EventType("order.created", 1, "orders", Plain))
    with pytest.raises(EventError) as caught:
        registry.add(EventType("order.created", 1, None, Packed))
    assert str(caught.value) == (
        f"{HERE}.Packed: order.created.v1 is already the event {HERE}.Plain; "
        "raise the version, or choose another name"
    )
    assert registry.of(Plain).topic == "orders"
    with pytest.raises(EventError):
        registry.of(Packed)


def test_one_class_cannot_be_two_events() -> None:
    registry = EventRegistry()
    registry.add(EventType("order.created", 1, None, Plain))
    with pytest.raises(EventError) as caught:
        registry.add(EventType("order.created", 2, None, Plain))
    assert str(caught.value) == f"{HERE}.Plain is already the event order.created.v1; remove one @event"
    assert registry.of(Plain).version == 1


def test_versions_of_one_event_are_different_events() -> None:
    registry = EventRegistry()
    registry.add(EventType("order.created", 1, None, Plain))
    registry.add(EventType("order.created", 2, None, Packed))
    assert [registry.of(model).version for model in (Plain, Packed)] == [1, 2]


def test_a_class_that_is_defined_again_replaces_itself() -> None:
    """A module that is reloaded, or imported again after it failed, is no mistake."""

    def define() -> type[Any]:
        @event("test_events.reloaded", version=1, topic="test_events.reloaded")
        @dataclasses.dataclass
        class Reloaded:
            pass

        return Reloaded

    old, new = define(), define()
    assert REGISTRY.of(new).model is new
    assert [known.model for known in REGISTRY.on_topic("test_events.reloaded")] == [new]
    with pytest.raises(EventError):
        REGISTRY.of(old)


def test_the_events_of_a_topic_are_those_that_name_it() -> None:
    registry = EventRegistry()
    first, second = (
        EventType("order.created", 1, "orders", Plain),
        EventType("order.gone", 1, "orders", Packed),
    )
    for each in (first, second, EventType("order.paid", 1, "payments", Checked)):
        registry.add(each)
    assert registry.on_topic("orders") == (first, second)
    assert registry.on_topic("nothing") == ()


TARGET = EventType("order.created", 4, None, Plain)


@pytest.mark.parametrize(
    ("lifts", "from_version", "expected"),
    [
        pytest.param("123", 1, "123", id="a chain lifts over several versions, in order"),
        pytest.param("123", 3, "3", id="from where it begins"),
        pytest.param("13", 1, "", id="a missing link breaks it"),
        pytest.param("13", 3, "3", id="but not behind it"),
        pytest.param("12", 1, "", id="a missing last link too"),
        pytest.param("123", 4, "", id="the version itself needs none"),
        pytest.param("1234", 5, "", id="a newer one cannot be lifted"),
        pytest.param("123", 0, "", id="there is no version 0"),
    ],
)
def test_upcasters_are_a_chain(lifts: str, from_version: int, expected: str) -> None:
    registry = EventRegistry()
    for version in lifts:
        registry.add_upcaster("order.created", int(version), _upcaster(version))
        registry.add_upcaster("another.event", int(version), _upcaster("x"))
    data: dict[str, Any] = {}
    for step in registry.upcasters(TARGET, from_version):
        data = step(data)
    assert data.get("lifted", "") == expected


def test_upcast_registers_the_function_and_returns_it() -> None:
    lift = _upcaster("1")
    assert upcast("test_events.lifted", from_version=1)(lift) is lift
    assert REGISTRY.upcasters(EventType("test_events.lifted", 2, None, Plain), 1) == (lift,)


def test_a_version_is_lifted_by_one_function() -> None:
    registry = EventRegistry()
    registry.add_upcaster("order.created", 1, _upcaster("one"))
    with pytest.raises(EventError) as caught:
        registry.add_upcaster("order.created", 1, _upcaster("other"))
    assert str(caught.value) == (
        f"{HERE}.lift_other: order.created v1 already has the upcaster {HERE}.lift_one; remove one"
    )


def test_an_upcaster_that_is_defined_again_replaces_itself() -> None:
    registry = EventRegistry()
    old, new = _upcaster("same"), _upcaster("same")
    registry.add_upcaster("order.created", 3, old)
    registry.add_upcaster("order.created", 3, new)
    assert registry.upcasters(TARGET, 3) == (new,)


def test_an_upcaster_without_a_name_is_shown_as_it_is() -> None:
    partial = functools.partial(_upcaster("partial"))
    with pytest.raises(EventError) as caught:
        upcast("test_events.lifted", from_version=0)(partial)
    assert repr(partial) in str(caught.value)


@pytest.mark.parametrize("from_version", [0, -1, 1.0, "1", True])
def test_a_version_to_lift_is_a_whole_number(from_version: Any) -> None:
    with pytest.raises(EventError) as caught:
        upcast("test_events.lifted", from_version=from_version)(_upcaster("x"))
    assert str(caught.value) == (
        f"{HERE}.lift_x: from_version={from_version!r} must be a whole number of 1 or more"
    )

"""Bare bodies of several types: a tag, a discriminator or the handler's select decides; none is guessed."""

import dataclasses
import json
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.types import EventRegistry, EventType, Select


class Charged(msgspec.Struct, tag="charge.succeeded", tag_field="type"):
    id: str


class Refunded(msgspec.Struct, tag="charge.refunded", tag_field="type"):
    id: str
    reason: str = ""


class Opened(pydantic.BaseModel):
    kind: Literal["opened"] = pydantic.Field(alias="type")
    id: str


class Shut(pydantic.BaseModel):
    kind: Literal["closed", "cancelled"] = pydantic.Field(alias="type")
    id: str


class Counted(msgspec.Struct, tag=1, tag_field="type"):
    id: str


@dataclasses.dataclass
class Plain:
    id: str


@dataclasses.dataclass
class Other:
    id: str


def _decoder(*taken: type[Any], others: tuple[type[Any], ...] = (), select: Select | None = None) -> Decoder:
    registry = EventRegistry()
    for model in (*taken, *others):
        registry.add(EventType(f"test_bare.{model.__name__}", 1, "test_bare", model))
    return Decoder("test_bare", tuple(map(registry.of, taken)), registry, select=select)


def _body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("taken", "value", "expected"),
    [
        pytest.param((Charged, Refunded), "charge.succeeded", Charged("1"), id="a msgspec tag"),
        pytest.param((Charged, Refunded), "charge.refunded", Refunded("1"), id="another msgspec tag"),
        pytest.param((Charged, Counted), 1, Counted("1"), id="a number as tag"),
        pytest.param((Opened, Shut), "opened", Opened(type="opened", id="1"), id="a discriminator"),
        pytest.param((Opened, Shut), "cancelled", Shut(type="cancelled", id="1"), id="one of its values"),
        pytest.param((Charged, Shut), "closed", Shut(type="closed", id="1"), id="a tag and a discriminator"),
        pytest.param((Charged,), "charge.succeeded", Charged("1"), id="one tagged type"),
    ],
)
def test_tags_and_discriminators_decide(taken: tuple[type[Any], ...], value: object, expected: Any) -> None:
    decoded = _decoder(*taken).decode(_body(type=value, id="1"))
    assert decoded.event == expected
    assert decoded.wire_type == f"test_bare.{type(expected).__name__}.v1"


@pytest.mark.parametrize("taken", [(Charged, Refunded), (Opened, Shut), (Charged,)])
def test_a_tag_of_another_type_is_unknown(taken: tuple[type[Any], ...]) -> None:
    with pytest.raises(UnknownEventError) as caught:
        _decoder(*taken).decode(_body(type="invoice.paid", id="1"))
    assert caught.value.event_type == "invoice.paid"


def test_the_tag_of_a_type_of_the_topic_that_the_handler_does_not_take_is_unknown() -> None:
    with pytest.raises(UnknownEventError):
        _decoder(Charged, others=(Refunded,)).decode(_body(type="charge.refunded", id="1"))


@pytest.mark.parametrize("fields", [{}, {"type": None}, {"type": ["charge.succeeded"]}])
def test_a_body_without_a_tag_is_undecodable(fields: dict[str, object]) -> None:
    with pytest.raises(DecodeError) as caught:
        _decoder(Charged, Refunded).decode(_body(id="1", **fields))
    assert caught.value.path == "$.type"
    assert caught.value.reason == "must name the event type, as one of: 'charge.succeeded', 'charge.refunded'"


def test_the_only_type_needs_no_tag() -> None:
    assert _decoder(Charged).decode(_body(id="1")).event == Charged("1")


def _by_name(body: Any) -> type[Any] | None:
    return {"plain": Plain, "other": Other, "charged": Charged}.get(body["name"])


@pytest.mark.parametrize(("name", "expected"), [("plain", Plain("1")), ("other", Other("1"))])
def test_select_chooses_the_class(name: str, expected: object) -> None:
    assert _decoder(Plain, Other, select=_by_name).decode(_body(name=name, id="1")).event == expected


def test_select_wins_over_tags() -> None:
    decoder = _decoder(Charged, Refunded, select=lambda _: Refunded)
    with pytest.raises(DecodeError, match=r"\$\.type"):
        decoder.decode(_body(type="charge.succeeded", id="1"))


def test_select_that_returns_none_leaves_it_to_on_unknown() -> None:
    with pytest.raises(UnknownEventError) as caught:
        _decoder(Plain, select=_by_name).decode(_body(name="paid", id="1"))
    assert str(caught.value) == "topic test_bare: no handler here for this bare body: select returned None"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(
            _body(name="charged", id="1"),
            "select returned <class '…Charged'>; it must return None or one of Plain, Other",
            id="a class that the handler does not take",
        ),
        pytest.param(_body(id="1"), "KeyError: 'name'", id="it raises"),
        pytest.param(b"{", "not JSON: Input data was truncated", id="the body is not JSON"),
    ],
)
def test_a_select_that_fails_makes_the_body_undecodable(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        _decoder(Plain, Other, select=_by_name).decode(body)
    assert caught.value.reason.replace(f"{__name__}.", "…") == reason


def test_a_select_that_raises_what_is_no_exception_fails_the_message_only() -> None:
    def leaving(_body: object) -> None:
        raise SystemExit(3)

    with pytest.raises(DecodeError):
        _decoder(Plain, select=leaving).decode(_body(id="1"))


def test_a_bare_body_of_a_topic_with_other_types_is_that_of_a_handler_of_one_type() -> None:
    assert _decoder(Plain, others=(Other,)).decode(_body(id="1")).event == Plain("1")


def test_a_fixed_value_of_the_only_type_is_no_discriminator() -> None:
    with pytest.raises(DecodeError, match=r"\$\.type"):
        _decoder(Opened).decode(_body(type="paid", id="1"))


def test_another_version_of_the_same_event_is_no_other_type() -> None:
    registry = EventRegistry()
    for version, model in enumerate((Plain, Other), start=1):
        registry.add(EventType("test_bare.plain", version, "test_bare", model))
    assert Decoder("test_bare", (registry.of(Other),), registry).decode(_body(id="1")).event == Other("1")


def test_types_with_the_same_tag_are_not_told_apart() -> None:
    class Twin(msgspec.Struct, tag="charge.succeeded", tag_field="type"):
        id: str

    with pytest.raises(DecodeError, match="several event types"):
        _decoder(Charged, Twin).decode(_body(type="charge.succeeded", id="1"))

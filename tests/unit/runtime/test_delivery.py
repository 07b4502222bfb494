"""Delivery: what travels with one message."""

import pytest

from nsqkit.runtime.delivery import Delivery
from tests.unit.runtime.bench import DESK, FakeMessage


def test_its_id_is_text() -> None:
    assert Delivery(FakeMessage(id_=b"0123456789abcdef"), DESK).message_id == "0123456789abcdef"


def test_an_id_that_is_no_ascii_is_readable_all_the_same() -> None:
    Delivery(FakeMessage(id_=b"\xff" * 16), DESK).message_id.encode()


def test_two_deliveries_of_one_message_are_two() -> None:
    message = FakeMessage()
    assert len({Delivery(message, DESK), Delivery(message, DESK)}) == 2


def test_at_arrival_nothing_is_known_but_the_message() -> None:
    delivery = Delivery(FakeMessage(), DESK)
    assert (delivery.decoded, delivery.ctx, delivery.task, delivery.in_handler) == (None, None, None, False)


def test_a_misspelt_field_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Delivery(FakeMessage(), DESK).decodet = None  # type: ignore[attr-defined]

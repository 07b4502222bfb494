"""Delivery: what travels with one message."""

import pytest

from tests.unit.runtime.bench import FakeMessage, delivery


def test_its_id_is_text() -> None:
    assert delivery(FakeMessage(id_=b"0123456789abcdef")).message_id == "0123456789abcdef"


def test_an_id_that_is_no_ascii_is_readable_all_the_same() -> None:
    delivery(FakeMessage(id_=b"\xff" * 16)).message_id.encode()


def test_two_deliveries_of_one_message_are_two() -> None:
    message = FakeMessage()
    assert len({delivery(message), delivery(message)}) == 2


def test_at_arrival_nothing_is_known_but_the_message() -> None:
    arrived = delivery(FakeMessage())
    assert (arrived.decoded, arrived.ctx, arrived.task, arrived.in_handler) == (None, None, None, False)


def test_a_misspelt_field_is_an_error() -> None:
    with pytest.raises(AttributeError):
        delivery(FakeMessage()).decodet = None  # type: ignore[attr-defined]

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


def test_the_attempts_before_a_row_delivered_it_count_once_however_often_it_is_handled() -> None:
    arrived = delivery(FakeMessage(attempts=2))
    ctx = arrived.make_context()
    for _ in range(2):
        ctx.resume(3)
    assert (arrived.attempts, arrived.deliveries, ctx.attempts) == (5, 5, 5)
    assert arrived.log_fields["attempts"] == ctx.log_fields["attempts"] == 5
    arrived.wait_again()
    assert (arrived.attempts, arrived.deliveries) == (2, 2)


def test_the_attempts_before_a_row_are_not_remembered_for_a_redelivery_which_finds_them_again() -> None:
    arrived = delivery(FakeMessage(attempts=2))
    arrived.make_context().resume(3)
    arrived.remember(is_attempt=True)
    assert arrived.shared.uncounted == {}


def test_it_knows_the_topic_of_its_handler_alone() -> None:
    source, replayed = delivery(FakeMessage()), delivery(FakeMessage(topic="consumed.work.retry"))
    assert source.retry_topic == "consumed.work.retry"
    assert (source.is_replayed, replayed.is_replayed) == (False, True)

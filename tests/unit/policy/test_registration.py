"""Registration: what nsqlookupd must know of a worker, and when it knows enough."""

import pytest

from nsqkit.policy.registration import (
    Registration,
    RegistrationState,
    by_topic,
    durable,
    kept,
    registration_problems,
)

PAIRS = frozenset({("orders", "stock"), ("orders", "mail"), ("bills", "stock")})


def test_names_that_vanish_with_their_client_are_left_out() -> None:
    ephemeral = {("orders", "tail#ephemeral"), ("jobs#ephemeral", "stock"), ("a#ephemeral", "b#ephemeral")}
    assert durable({*PAIRS, *ephemeral}) == PAIRS


def test_the_channels_of_a_topic_are_together() -> None:
    assert by_topic(PAIRS) == {"orders": {"stock", "mail"}, "bills": {"stock"}}
    assert by_topic(()) == {}


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        pytest.param({"orders", "bills", "others"}, PAIRS, id="all, if no topic is gone"),
        pytest.param({"orders"}, {("orders", "stock"), ("orders", "mail")}, id="none of a deleted topic"),
        pytest.param(set(), set(), id="none, if all topics were deleted"),
    ],
)
def test_what_is_registered_again(topics: set[str], expected: set[tuple[str, str]]) -> None:
    assert kept(PAIRS, frozenset(topics)) == expected


PENDING = Registration(RegistrationState.PENDING, "pending")
REGISTERED = Registration(RegistrationState.REGISTERED)
UNREACHABLE = Registration(RegistrationState.UNREACHABLE, "unreachable")
REFUSED = Registration(RegistrationState.REFUSED, "refused")


@pytest.mark.parametrize(
    ("registrations", "expected"),
    [
        pytest.param([], (), id="without nsqlookupd there is nothing to register"),
        pytest.param([REGISTERED], (), id="registered"),
        pytest.param([REGISTERED, UNREACHABLE], (), id="one that cannot be reached is left out"),
        pytest.param([UNREACHABLE, UNREACHABLE], ("unreachable", "unreachable"), id="not if it is every one"),
        pytest.param([REGISTERED, PENDING], ("pending",), id="one that was not asked yet is waited for"),
        pytest.param([REFUSED, REGISTERED], ("refused",), id="a refusal needs a person"),
        pytest.param([PENDING, UNREACHABLE], ("pending", "unreachable"), id="each has its line"),
    ],
)
def test_problems(registrations: list[Registration], expected: tuple[str, ...]) -> None:
    by_address = {f"a:{number}": each for number, each in enumerate(registrations)}
    assert registration_problems(by_address) == expected

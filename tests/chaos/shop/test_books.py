"""Books: what is reported, and what is not."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.shop.books import Books, Order

MAILS = ("Your order is received", "Your order is confirmed")
RIGHT = Books(
    orders={"o1": Order("confirmed", 500, "completed"), "o2": Order("cancelled", 900, "compensated")},
    free={"tea": 998, "jam": 1000},
    reserved={"tea": 2},
    reservations={"o1": "reserved", "o2": "released"},
    charges={"o1": "charged", "o2": "declined"},
    bank={"o1": 500},
    charged_cents=500,
    refunded_cents=0,
    mails={"o1": MAILS, "o2": ("Your order is cancelled", "Your order is received")},
    sent=10,
    unsent=0,
    parked=0,
)
PLACED = ("o1", "o2")


def test_books_that_agree_have_no_problems() -> None:
    assert list(RIGHT.problems(PLACED)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"orders": {**RIGHT.orders, "o2": Order("pending", 900, "running")}},
            "o2 is pending, and its saga is running",
            id="an open order",
        ),
        pytest.param(
            {"orders": {**RIGHT.orders, "o2": Order("cancelled", 900, "")}},
            "o2 is cancelled, and its saga is missing",
            id="an order without a saga",
        ),
        pytest.param(
            {"orders": {"o1": RIGHT.orders["o1"]}}, "orders: 1 are missing, such as o2", id="a lost order"
        ),
        pytest.param(
            {"orders": {**RIGHT.orders, "o3": RIGHT.orders["o2"]}},
            "orders: 1 too many, such as o3",
            id="an order placed twice",
        ),
        pytest.param(
            {"reservations": {"o1": "released"}},
            "reservations of confirmed orders: 1 are missing, such as o1",
            id="a confirmed order without stock",
        ),
        pytest.param(
            {"reservations": {"o1": "reserved", "o2": "reserved"}},
            "reservations of confirmed orders: 1 too many, such as o2",
            id="a cancelled order with stock",
        ),
        pytest.param(
            {"free": {"tea": 996, "jam": 1000}},
            "tea: 996 free and reserved pieces are 998, not 1000",
            id="stock taken twice",
        ),
        pytest.param(
            {"charges": {}}, "charges of confirmed orders: 1 are missing, such as o1", id="an unknown charge"
        ),
        pytest.param({"bank": {}}, "the bank and the confirmed orders disagree about o1", id="a lost charge"),
        pytest.param(
            {"bank": {"o1": 500, "o2": 900}},
            "the bank and the confirmed orders disagree about o2",
            id="a cancelled order that is charged",
        ),
        pytest.param(
            {"mails": {**RIGHT.mails, "o1": (*MAILS, MAILS[1])}},
            f"o1 is confirmed, and has the mails {[*MAILS, MAILS[1]]}",
            id="a mail twice",
        ),
        pytest.param({"unsent": 1}, "1 events wait in the outboxes, and 0 are parked", id="an unsent event"),
        pytest.param({"parked": 1}, "0 events wait in the outboxes, and 1 are parked", id="a parked event"),
    ],
)
def test_what_does_not_add_up_is_named(changes: dict[str, Any], problem: str) -> None:
    assert problem in list(replace(RIGHT, **changes).problems(PLACED))


def test_an_order_that_answers_two_customers_is_named() -> None:
    assert list(RIGHT.problems(("o1", "o2", "o2"))) == ["1 orders answer two customers"]

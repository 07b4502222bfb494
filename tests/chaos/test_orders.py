import json
from itertools import pairwise

import msgspec
import pytest

from handlers.orders import OrderCreated
from tests.chaos import orders as kinds
from tests.chaos.orders import MAILS, ORDERS, Order, Orders, kind_of

ROUND = 2000
"""Orders in the sample."""


def data_of(order: Order) -> dict[str, object]:
    data: dict[str, object] = json.loads(order.body)["data"]
    return data


def test_no_id_comes_twice_however_often_the_sample_goes_round() -> None:
    taken = Orders({kinds.QUICK: 1}, seed=1).take(2 * ROUND + 10)
    assert all(earlier.id < later.id for earlier, later in pairwise(taken))
    assert {data_of(order)["order_id"] for order in taken} == {order.id for order in taken}


def test_but_for_its_id_an_order_is_as_in_the_sample() -> None:
    supply = Orders({kinds.QUICK: 1}, seed=1)
    first, *_, again = supply.take(ROUND + 1)
    assert data_of(first) | {"order_id": ""} == data_of(again) | {"order_id": ""}


def test_undecodable_are_those_that_their_type_does_not_allow() -> None:
    for order in Orders({kinds.QUICK: 1}, seed=1).take(ROUND):
        if kind_of(order.id) == kinds.UNDECODABLE:
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert(data_of(order), OrderCreated)
        else:
            msgspec.convert(data_of(order), OrderCreated)


def test_only_valid_leaves_them_out() -> None:
    taken = Orders({kinds.QUICK: 1}, seed=1, only_valid=True).take(ROUND)
    assert {kind_of(order.id) for order in taken} == {kinds.QUICK}


def test_the_same_seed_draws_the_same_kinds() -> None:
    weights = {kinds.QUICK: 1, kinds.SLOW: 1}
    ids = [[order.id for order in Orders(weights, seed).take(100)] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_a_number_may_have_a_kind_of_its_own() -> None:
    supply = Orders({kinds.QUICK: 1}, seed=1, special={1: kinds.POISON}, only_valid=True)
    assert [kind_of(order.id) for order in supply.take(3)] == [kinds.QUICK, kinds.POISON, kinds.QUICK]


def test_what_runs_in_threads_has_a_topic_of_its_own() -> None:
    supply = Orders({kinds.QUICK: 1, kinds.PLAIN: 1}, seed=1, only_valid=True)
    assert {(kind_of(order.id), order.topic) for order in supply.take(100)} == {
        (kinds.QUICK, ORDERS),
        (kinds.PLAIN, MAILS),
    }

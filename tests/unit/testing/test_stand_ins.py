"""Stand-ins take the place of resources, by the type that is asked for."""

from collections.abc import Iterator
from typing import Any

import pytest

from nsqkit import Context, Handler, Settings, resource
from nsqkit.runtime.resources import Resources
from nsqkit.testing import HarnessError
from nsqkit.testing.stand_ins import with_stand_ins
from tests.unit.testing.shop import Charge, Charged, Gateway, Notify, Ordered, gateway


class Bank:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway


class Swiss(Gateway):
    pass


@resource
def bank(gateway: Gateway) -> Iterator[Bank]:
    yield Bank(gateway)


class Pay(Handler[Ordered], channel="pay"):
    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    async def handle(self, event: Ordered, ctx: Context) -> None:
        pass


async def made(kind: type[Handler[Any]], *known: Any, **_: Any) -> Any:
    resources = Resources(known, Settings())
    handler = await resources.make(kind.spec)
    await resources.close()
    return handler


async def test_a_handler_gets_the_stand_in() -> None:
    fake = Gateway()
    handler = await made(Charge, *with_stand_ins([Charge.spec], [gateway], {Gateway: fake}))
    assert handler.gateway is fake


async def test_so_does_a_resource() -> None:
    fake = Gateway()
    handler = await made(Pay, *with_stand_ins([Pay.spec], [gateway, bank], {Gateway: fake}))
    assert handler.bank.gateway is fake


async def test_a_stand_in_may_be_given_by_a_more_special_type() -> None:
    fake = Swiss()
    handler = await made(Charge, *with_stand_ins([Charge.spec], [], {Swiss: fake}))
    assert handler.gateway is fake


async def test_a_stand_in_may_be_anything() -> None:
    """A mock is of no type."""
    fake = object()
    handler = await made(Charge, *with_stand_ins([Charge.spec], [gateway], {Gateway: fake}))
    assert handler.gateway is fake


def test_other_resources_stay() -> None:
    kept, *_ = with_stand_ins([Pay.spec], [gateway, bank], {Bank: object()})
    assert kept is gateway


@pytest.mark.parametrize("handler", [Charge, Notify])
def test_one_that_nobody_asks_for_is_a_mistake(handler: type[Handler[Any]]) -> None:
    with pytest.raises(HarnessError, match="no handler and no resource asks for Charged"):
        with_stand_ins([handler.spec], [gateway], {Charged: object()})

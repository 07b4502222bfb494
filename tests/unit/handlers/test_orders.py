"""The sample team's handlers, tested as a team would: without a broker, with fakes of its own."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from handlers import orders
from handlers.orders import (
    ChargePayment,
    Gateway,
    GatewayError,
    Line,
    NotifyCustomer,
    OrderCreated,
    PaymentDeclinedError,
    ReserveStock,
    SalesTotals,
    Warehouse,
)
from nsqkit import Context, DeadLetter, Handler, Settings, SettingsError, Worker
from nsqkit.errors import DecodeError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.types import REGISTRY
from nsqkit.loading.describe import table
from nsqkit.loading.loader import load
from tests.unit.runtime.bench import Bench

SAMPLE = Path(__file__).parents[3] / "examples" / "data" / "orders.jsonl"


def order(order_id: str = "o-1", *lines: Line, store: str = "s-1", total_cents: int = 500) -> OrderCreated:
    return OrderCreated(
        order_id=order_id,
        customer_id="c-1",
        store=store,
        placed_at="2017-01-01T11:53:26Z",
        lines=lines or (Line(product="p-1", quantity=2, amount_cents=500),),
        total_cents=total_cents,
    )


class TestReserveStock:
    async def test_every_line_is_reserved_in_its_store(self) -> None:
        warehouse = Warehouse()
        lines = (Line("p-1", 2, 100), Line("p-2", 1, 50))
        await ReserveStock(warehouse).handle(order("o-1", *lines), Context())
        await ReserveStock(warehouse).handle(order("o-2", lines[0], store="s-2"), Context())
        assert warehouse.reserved == {("s-1", "p-1"): 2, ("s-1", "p-2"): 1, ("s-2", "p-1"): 2}

    async def test_the_same_order_again_reserves_nothing_more(self) -> None:
        warehouse = Warehouse()
        handler = ReserveStock(warehouse)
        for attempts in (1, 2):
            await handler.handle(order(), Context(attempts=attempts))
        assert warehouse.reserved == {("s-1", "p-1"): 2}


class TestChargePayment:
    async def test_the_total_is_charged(self) -> None:
        gateway = Gateway(0.0)
        await ChargePayment(gateway).handle(order(total_cents=700), Context())
        assert gateway.charged_cents == 700

    async def test_a_gateway_that_does_not_answer_is_tried_again(self) -> None:
        bench = Bench(ChargePayment(Gateway(1.0)))
        message = await bench.run(body())
        assert (bench.outcome, bench.reason) == ("requeue", "error")
        assert message.answers == [("REQ", 0.2)]
        assert bench.meter.errors == {"GatewayError": 1}

    async def test_a_declined_payment_is_a_dead_letter_at_once(self) -> None:
        bench = Bench(ChargePayment(Gateway(1.0)))
        await bench.run(body(total_cents=0))
        assert (bench.outcome, bench.reason) == ("dead_letter", "rule")
        assert bench.publishes.record["detail"] == "declined by the gateway"

    def test_its_errors_have_labels_of_their_own(self) -> None:
        assert ChargePayment.spec.declared_errors == {"GatewayError", "PaymentDeclinedError"}
        assert ChargePayment.spec.retry.outcome_for(PaymentDeclinedError()) == DeadLetter(
            "declined by the gateway"
        )


class TestGateway:
    async def test_it_fails_as_often_as_it_is_told(self) -> None:
        gateway = Gateway(0.2)
        ends: Counter[str] = Counter()
        for n in range(1000):
            try:
                await gateway.charge(f"o-{n}", 1)
                ends["charged"] += 1
            except GatewayError:
                ends["failed"] += 1
        assert gateway.charged_cents == ends["charged"]
        assert 150 < ends["failed"] < 250

    async def test_two_with_the_same_seed_fail_alike(self) -> None:
        async def failures() -> list[bool]:
            gateway = Gateway(0.5)
            found = []
            for n in range(50):
                try:
                    await gateway.charge(f"o-{n}", 1)
                    found.append(False)
                except GatewayError:
                    found.append(True)
            return found

        assert await failures() == await failures()

    @pytest.mark.parametrize("ratio", ["-0.1", "1.1", "often"])
    async def test_a_ratio_that_is_none_is_refused_by_name(self, ratio: str) -> None:
        settings = Settings(app={"payment_failure_ratio": ratio})
        with pytest.raises(SettingsError, match="payment_failure_ratio"):
            async for _ in aiter_of(settings):
                pass


def aiter_of(settings: Settings) -> Any:
    return orders.gateway(settings)


def test_a_customer_is_notified_in_a_thread() -> None:
    assert NotifyCustomer().handle(order(), Context()) is None  # type: ignore[func-returns-value]
    assert not NotifyCustomer.spec.is_async
    assert not NotifyCustomer.spec.run_on_loop


def test_sales_are_summed_by_store_and_each_order_once() -> None:
    totals = SalesTotals(Settings())
    for each in (order("o-1"), order("o-1"), order("o-2", total_cents=7), order("o-3", store="s-2")):
        totals.handle(each, Context())
    assert totals.cents_by_store == {"s-1": 507, "s-2": 500}


class TestDeclaration:
    def test_the_module_loads_without_a_problem_on_four_channels_of_one_topic(self) -> None:
        loaded = load(["handlers.orders"], Settings())
        subscriptions = [(spec.topic, spec.channel) for spec in loaded.handlers]
        assert subscriptions == [("orders", each) for each in ("inventory", "payments", "notify", "totals")]
        assert {each.name for each in loaded.resources} == {"gateway", "warehouse"}

    def test_its_table_spells_the_retry_out(self) -> None:
        rows = {row.handler: row for row in table(load(["handlers.orders"], Settings()).handlers)}
        assert rows["ChargePayment"].retry.startswith("0.2s, 0.4s, 0.8s, 1.6s, 3.2s, then dead letter")
        assert [row.kind for row in rows.values()] == ["async", "async", "threads:4", "loop"]

    def test_a_worker_takes_all_of_them(self) -> None:
        handlers: list[type[Handler[Any]]] = [ReserveStock, ChargePayment, NotifyCustomer, SalesTotals]
        assert len(Worker(handlers, settings=Settings(nsqd=("h:4150",))).specs) == 4

    def test_it_imports_nothing_of_nsqkit_but_what_that_exports(self) -> None:
        source = Path(orders.__file__).read_text()
        assert set(re.findall(r"^(?:from|import) (nsqkit\S*)", source, re.MULTILINE)) == {"nsqkit"}


class TestSample:
    """The real orders that the main job is fed with."""

    def test_every_line_is_read_but_those_with_a_quantity_of_0(self) -> None:
        decoder = Decoder("orders", (REGISTRY.of(OrderCreated),))
        refused = []
        lines = SAMPLE.read_bytes().splitlines()
        for number, line in enumerate(lines):
            try:
                decoder.decode(line)
            except DecodeError as error:
                refused.append((number, re.sub(r"\d+", "_", error.path)))
        quantities = [
            [line["quantity"] for line in msgspec.json.decode(each)["data"]["lines"]] for each in lines
        ]
        odd = [
            (number, "$.data.lines[_].quantity") for number, each in enumerate(quantities) if min(each) < 1
        ]
        assert len(lines) == 2000
        assert refused == odd
        assert len(odd) == 92, "as examples/data/README.md says"


def body(**changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(order(), **changes))

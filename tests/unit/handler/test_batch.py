"""Batch handlers: a class is checked when it is made, and keeps what was declared."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest

from nsqkit import BatchHandler, Context, Delivery, Discard, Handler, HandlerError, Outcome, event


@event("test_batch.created", version=1, topic="batched")
@dataclass(frozen=True)
class Created:
    order_id: str


Batch = Sequence[Delivery[Created]]


def test_what_is_declared_is_kept() -> None:
    class Totals(BatchHandler[Created], channel="totals", max_messages=500, max_wait_s=2.0, timeout_s=20):
        async def handle(self, batch: Batch) -> None: ...

    spec = Totals.spec
    assert (spec.name, spec.topic, spec.channel, spec.is_async) == ("Totals", "batched", "totals", True)
    assert (spec.max_messages, spec.max_wait_s, spec.max_in_flight) == (500, 2.0, 500)
    assert (spec.holds_s, spec.most_calls) == (22.0, 1)


def test_what_is_not_declared_has_a_default() -> None:
    class Totals(BatchHandler[Created], channel="totals"):
        def handle(self, batch: Batch) -> None: ...

    spec = Totals.spec
    assert (spec.max_messages, spec.max_wait_s, spec.max_in_flight, spec.timeout_s) == (100, 1.0, 100, 30.0)
    assert not spec.is_async


def test_a_handler_of_single_messages_has_no_batch() -> None:
    class Notify(Handler[Created], channel="notify"):
        async def handle(self, event: Created, ctx: Context) -> None: ...

    spec = Notify.spec
    assert (spec.max_messages, spec.holds_s, spec.most_calls) == (None, 30.0, 100)


def test_as_many_calls_run_as_full_batches_fit_into_max_in_flight() -> None:
    class Totals(BatchHandler[Created], channel="totals", max_messages=10, max_in_flight=39):
        async def handle(self, batch: Batch) -> None: ...

    assert Totals.spec.most_calls == 3


def test_a_class_may_share_its_options_with_those_derived_from_it() -> None:
    class Team(BatchHandler[Created], abstract=True, max_messages=7): ...

    class Totals(Team, channel="totals", max_wait_s=5):
        async def handle(self, batch: Batch) -> None: ...

    assert (Totals.spec.max_messages, Totals.spec.max_wait_s, Totals.spec.max_in_flight) == (7, 5, 7)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"max_messages": 0}, "max_messages=0 is not in 1..2500", id="an empty batch"),
        pytest.param(
            {"max_messages": 2501},
            "max_messages=2501 is not in 1..2500",
            id="more than nsqd delivers at once",
        ),
        pytest.param({"max_messages": "9"}, "max_messages='9' is not a whole number", id="a text as number"),
        pytest.param(
            {"max_wait_s": 0}, "max_wait_s=0 must be above 0 and at most 880 seconds", id="no time to gather"
        ),
        pytest.param({"max_wait_s": "2s"}, "max_wait_s='2s' is not a number of seconds", id="a text as time"),
        pytest.param(
            {"max_messages": 50, "max_in_flight": 49},
            "max_in_flight=49 is less than max_messages=50, so no batch could be full; "
            "raise it or leave it out",
            id="less in flight than makes a batch",
        ),
        pytest.param(
            {"max_in_flight": 99},
            "max_in_flight=99 is less than max_messages=100, so no batch could be full; "
            "raise it or leave it out",
            id="less in flight than the default of a batch",
        ),
        pytest.param(
            {"max_wait_s": 60, "timeout_s": 821},
            "max_wait_s=60 plus timeout_s=821 is more than the 880 seconds that a message can be in flight; "
            "lower one of them",
            id="longer than nsqd lets a message be held",
        ),
        pytest.param(
            {"max_wait_s": 851},
            "max_wait_s=851 plus timeout_s=30 is more than the 880 seconds that a message can be in flight; "
            "lower one of them",
            id="longer with the default timeout",
        ),
        pytest.param(
            {"timeout_s": 881}, "timeout_s=881 must be above 0 and at most 880 seconds", id="told only once"
        ),
        pytest.param(
            {"max_in_flight": 0}, "max_in_flight=0 is not in 1..2500", id="a wrong number told only once"
        ),
        pytest.param(
            {"max_wait": 2}, "unknown class keyword 'max_wait'; did you mean 'max_wait_s'?", id="misspelt"
        ),
        pytest.param(
            {"channel": None}, 'has no channel; add channel="…" to the class keywords', id="no channel"
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_range(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(HandlerError) as caught:

        class Totals(BatchHandler[Created], **({"channel": "totals"} | options)):
            async def handle(self, batch: Batch) -> None: ...

    (told,) = caught.value.problems
    assert told.endswith(f": Totals: {problem}")
    assert "test_batch.py:" in told


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"max_messages": 1}, id="the smallest batch"),
        pytest.param({"max_messages": 2500}, id="the largest batch"),
        pytest.param({"max_wait_s": 0.001}, id="a short wait"),
        pytest.param({"max_wait_s": 580, "timeout_s": 300}, id="as long as a message can be held"),
        pytest.param({"max_messages": 50, "max_in_flight": 50}, id="as much in flight as makes a batch"),
    ],
)
def test_a_declaration_that_can_be_meant_has_no_problems(options: dict[str, Any]) -> None:
    class Totals(BatchHandler[Created], channel="totals", **options):
        async def handle(self, batch: Batch) -> None: ...

    assert Totals.problems == ()


def test_a_method_that_takes_a_single_message_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"Totals: handle must take \(self, batch\)"):

        class Totals(BatchHandler[Created], channel="totals"):
            async def handle(self, event: Created, ctx: Context) -> None: ...  # type: ignore[override]


def test_a_class_without_a_method_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"has no handle method; write async def handle\(self, batch\)"):

        class Totals(BatchHandler[Created], channel="totals"): ...


def test_a_class_without_an_event_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"derives from BatchHandler without an event type; write Batch"):

        class Totals(BatchHandler, channel="totals"):  # type: ignore[type-arg]
            async def handle(self, batch: Batch) -> None: ...


def test_a_class_without_a_handle_of_its_own_does_nothing() -> None:
    class Team(BatchHandler[Created], abstract=True): ...

    with pytest.raises(NotImplementedError):
        Team().handle([])  # type: ignore[abstract]


def test_a_handler_is_made_and_called_like_any_class() -> None:
    class Totals(BatchHandler[Created], channel="totals"):
        async def handle(self, batch: Batch) -> Mapping[str, Outcome]:
            return {each.key: Discard() for each in batch if not each.event.order_id}

    batch = [Delivery("a", Created("o-1"), Context()), Delivery("b", Created(""), Context(attempts=2))]
    assert asyncio.run(Totals().handle(batch)) == {"b": Discard()}


def test_a_delivery_is_a_value() -> None:
    delivery = Delivery("a", Created("o-1"), Context())
    with pytest.raises(FrozenInstanceError):
        delivery.key = "b"  # type: ignore[misc]

"""What the page shows: rates, verdict, limits and nsqd's figures, never totals since the start."""

import asyncio
import sys
from dataclasses import replace
from itertools import pairwise
from types import FrameType

import pytest

from nsqkit.admin import IntakeState
from nsqkit.monitor import Look, MarkKind, WorkerSource
from nsqkit.monitor.look import WorkerShown
from nsqkit.monitor.marks import MOST_CHARACTERS
from nsqkit.monitor.view import ROWS_AT_ONCE
from tests.unit.monitor.bench import CHARGE, NOTIFY, Shop

MOST_CALLS_AT_ONCE = 6000
"""Of Python and C, between two turns of the event loop: about 1 ms."""
CALLS_FOR_MORE_HANDLERS = 15
"""For each handler in addition, without a break: its state, and its part of the verdict."""


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_without_messages_nothing_is_known(shop: Shop) -> None:
    state = await shop.state()
    assert state["verdict"]["word"] == "Unknown"
    assert [row["m1"] for row in state["handlers"]] == [None, None]
    assert [row["level"] for row in state["handlers"]] == ["unknown", "unknown"]


async def test_rates_are_of_windows(shop: Shop) -> None:
    shop.run(240)
    shop.run(60, failed=4)
    charge, notify = (await shop.state())["handlers"]
    assert (charge["now"], charge["m1"], charge["m5"]) == (0.4, 0.4, 0.08)
    assert (charge["failed"], charge["received"], charge["throughput"]) == (240, 600, 10.0)
    assert notify["m1"] == 0.0


async def test_the_verdict_names_handler_time_type_and_line(shop: Shop) -> None:
    shop.run(600)
    shop.run(120, failed=4)
    verdict = (await shop.state())["verdict"]
    assert verdict["line"].startswith(
        "Charge requeues 40 % since 14:10: ConnectionRefusedError at monitor/bench.py:"
    )
    assert verdict["line"].endswith("Other handlers are healthy.")
    assert (verdict["handler"], verdict["cause"]) == ("Charge", "looks like a dependency")


async def test_since_is_left_out_if_the_data_do_not_reach_back(shop: Shop) -> None:
    shop.run(1000, failed=4)
    state = await shop.state()
    assert (state["handlers"][0]["since"], state["handlers"][0]["since_step"]) == ("", None)
    assert "since before the data begin" in state["verdict"]["line"]


async def test_a_handler_that_recovers_is_healthy_again(shop: Shop) -> None:
    shop.run(60, failed=4)
    shop.run(61)
    assert (await shop.state())["verdict"]["word"] == "Healthy"


async def test_a_pause_is_shown_as_such(shop: Shop) -> None:
    shop.run(60)
    shop.states[NOTIFY] = replace(shop.states[NOTIFY], state=IntakeState.KILL_SWITCH_OPEN, remaining_s=29.6)
    shop.notify.paused(True)
    shop.notify.kill_switch("open")
    shop.run(1)
    state = await shop.state()
    row = state["handlers"][1]
    assert (row["level"], row["state"], row["remaining_s"]) == ("held", "kill_switch_open", 30)
    assert row["paused"] == [89]
    assert state["marks"][-1] == {
        "step": 89,
        "at": 1_795_960_861,
        "kind": "kill_switch",
        "text": "the kill switch of Notify has opened",
        "handler": "Notify",
    }
    assert "kill switch open" in state["verdict"]["line"]


async def test_marks_leave_with_their_step(shop: Shop) -> None:
    assert [mark["kind"] for mark in (await shop.state())["marks"]] == ["start"]
    shop.run(900)
    assert (await shop.state())["marks"] == []


async def test_nsqds_figures_are_shown_for_handlers_and_by_nsqd(shop: Shop) -> None:
    nsqds = ("a:4150", "b:4150")
    shop.metrics.add_source(
        lambda: [
            *(("nsqkit_channel_depth", (*CHARGE, nsqd), 7) for nsqd in nsqds),
            *(("nsqkit_rdy", (*CHARGE, nsqd), 5) for nsqd in nsqds),
            ("nsqkit_connection_state", (*CHARGE, "a:4150", "subscribed"), 1),
            ("nsqkit_connection_state", (*NOTIFY, "a:4150", "subscribed"), 1),
            ("nsqkit_connection_state", (*NOTIFY, "a:4150", "connecting"), 0),
        ]
    )
    state = await shop.state()
    assert [row["depth"] for row in state["handlers"]] == [14, None]
    assert state["nsqd"] == [
        {"address": "a:4150", "states": {"subscribed": 2}, "rdy": 5, "depth": 7},
        {"address": "b:4150", "states": {}, "rdy": 5, "depth": 7},
    ]


async def test_an_age_above_all_buckets_is_json_too(shop: Shop) -> None:
    shop.charge.age(1e9)
    shop.run(1)
    state = await shop.state()
    assert state["handlers"][0]["oldest_s"] == -1


async def test_a_limit_that_is_passed_is_in_the_verdict(shop: Shop) -> None:
    for _ in range(30):
        shop.metrics.event_loop_lag(0.2)
        shop.notify.executor_waits([20.0])
        shop.run(1)
    state = await shop.state()
    levels = {each["key"]: each["level"] for each in state["saturation"]}
    assert (levels["lag"], levels["wait"]) == ("warn", "warn")
    assert "Event-loop lag 250 ms, limit 100" in state["verdict"]["line"]


async def test_a_handler_at_its_limit_is_saturated_while_its_backlog_grows(shop: Shop) -> None:
    await _fill_charge(shop)
    state = await shop.state()
    text = "100 of 100 in flight, at its limit for most of the last 10 s, while 10 messages wait in nsqd and "
    assert state["verdict"]["word"] == "To watch"
    assert state["verdict"]["line"] == f"No handler fails, but Charge is saturated: {text}the depth grows."
    assert state["verdict"]["handler"] == "Charge"
    assert [(row["level"], bool(row["saturated"])) for row in state["handlers"]] == [
        ("warn", True),
        ("ok", False),
    ]


@pytest.mark.parametrize("intake", [IntakeState.PAUSED, IntakeState.RATE_LIMITED])
async def test_messages_that_wait_for_another_reason_are_no_saturation(
    shop: Shop, intake: IntakeState
) -> None:
    shop.states[CHARGE] = replace(shop.states[CHARGE], state=intake)
    await _fill_charge(shop)
    assert [row["saturated"] for row in (await shop.state())["handlers"]] == ["", ""]


async def test_ages_that_grow_are_a_sign_of_a_backlog(shop: Shop) -> None:
    shop.states[CHARGE] = replace(shop.states[CHARGE], held=100)
    shop.metrics.add_source(lambda: [("nsqkit_channel_depth", (*CHARGE, "a:4150"), 7)])
    for second in range(70):
        shop.charge.age(1.0 if second < 60 else 100.0)
        shop.run(1)
        state = await shop.state()
    assert state["handlers"][0]["saturated"].endswith("7 messages wait in nsqd and the oldest age grows")


async def test_the_state_is_bounded_whatever_the_number_of_messages(shop: Shop) -> None:
    shop.run(60, received=10, failed=1)
    before = len(await shop.monitor.text())
    shop.run(60, received=1_000_000, failed=50)
    assert len(await shop.monitor.text()) < before + 200


async def test_errors_have_examples_and_times(shop: Shop) -> None:
    shop.run(10, failed=2)
    errors = await shop.monitor.errors("Charge")
    assert errors is not None
    assert [(each["type"], each["count"]) for each in errors] == [("ConnectionRefusedError", 20)]
    assert errors[0]["last"] - errors[0]["first"] == 9
    first = errors[0]["examples"][0]
    assert (first["text"], first["attempts"]) == ("ConnectionRefusedError: no gateway", 1)
    assert "bench.py" in first["stack"]
    assert await shop.monitor.errors("Notify") == []
    assert await shop.monitor.errors("Nobody") is None


async def test_a_handler_of_several_workers_is_one_row_that_names_the_worker(shop: Shop) -> None:
    shop.run(60)
    one, other = (replace(shop.states[CHARGE], worker=number) for number in (1, 2))
    shop.states = {
        CHARGE: one,
        NOTIFY: replace(other, state=IntakeState.PAUSED, problems=("not subscribed",)),
    }
    (row,) = (await shop.state())["handlers"]
    assert (row["in_flight"], row["max_in_flight"]) == (6, 200)
    assert (row["level"], row["state"], row["in_workers"]) == ("ok", "paused", [2])
    assert row["problems"] == ["worker 2: not subscribed"]


async def test_a_route_of_a_bridge_shows_what_waits_for_it_and_its_last_error(shop: Shop) -> None:
    """Several workers know different numbers of one queue or topic; the largest is shown."""
    shop.run(60)
    one, other = (replace(shop.states[CHARGE], worker=number) for number in (1, 2))
    shop.states = {CHARGE: replace(one, lag=3, last_error="2026: away"), NOTIFY: replace(other, lag=5)}
    (row,) = (await shop.state())["handlers"]
    assert (row["depth"], row["lag"], row["last_error"]) == (5, 5, "2026: away")


async def test_a_worker_that_is_not_ready_is_named_without_secrets(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(_source: WorkerSource) -> Look:
        problem = f"nsqd says 4111111111111111 {'and so on' * 100}"
        return Look(shop.handler_states(), workers=[WorkerShown(1, ""), WorkerShown(2, problem)])

    monkeypatch.setattr(WorkerSource, "look", look)
    state = await shop.state()
    one, other = state["service"]["workers"]
    assert one == {"worker": 1, "problem": ""}
    assert other["problem"].startswith("nsqd says [redacted] and")
    assert len(other["problem"]) == MOST_CHARACTERS
    assert state["saturation"][0]["label"] == "Event-loop lag, slowest worker"


async def test_failures_that_began_with_a_deploy_look_like_the_code(shop: Shop) -> None:
    shop.run(600)
    shop.monitor.mark(MarkKind.DEPLOY, "worker 1 was replaced")
    shop.monitor.mark(MarkKind.DEPLOY, "worker 2 was replaced")
    shop.run(60, failed=4)
    state = await shop.state()
    assert [(mark["kind"], mark["text"]) for mark in state["marks"]] == [
        ("start", "worker started"),
        ("deploy", "worker 1 was replaced; worker 2 was replaced"),
    ]
    assert "It began within 2 minutes after the last start or deploy." in state["verdict"]["evidence"]


async def test_the_screen_of_many_handlers_is_made_in_short_slices() -> None:
    """Calls are counted between two turns of the event loop, since time is noise on a shared machine."""
    few, many = [await _longest_slice(handlers) for handlers in (2 * ROWS_AT_ONCE, 20 * ROWS_AT_ONCE)]
    assert few <= MOST_CALLS_AT_ONCE
    assert many <= few + CALLS_FOR_MORE_HANDLERS * 18 * ROWS_AT_ONCE


async def _fill_charge(shop: Shop) -> None:
    """Let ten seconds pass with all slots in use, and one more message that waits each second."""
    shop.states[CHARGE] = replace(shop.states[CHARGE], held=100)
    depth = 0

    def figures() -> list[tuple[str, tuple[str, ...], int]]:
        nonlocal depth
        depth += 1
        return [("nsqkit_channel_depth", (*CHARGE, "a:4150"), depth)]

    shop.metrics.add_source(figures)
    for _ in range(10):
        shop.run(1)
        await shop.monitor.text()


async def _longest_slice(handlers: int) -> int:
    shop = Shop()
    charge = shop.states[CHARGE]
    for number in range(handlers):
        labels = ("orders", "payments", f"Charge{number}")
        shop.states[labels] = replace(charge, name=labels[-1])
        shop.metrics.for_handler(*labels)
    shop.run(2)
    calls, turns = [0], [0]

    def count(_frame: FrameType, kind: str, _argument: object) -> None:
        calls[0] += kind in {"call", "c_call"}

    async def turn() -> None:
        while True:
            turns.append(calls[0])
            await asyncio.sleep(0)  # a turn of the loop has no event

    turning = asyncio.create_task(turn())
    sys.setprofile(count)
    try:
        await shop.monitor.text()
    finally:
        sys.setprofile(None)
        turning.cancel()
    assert len(turns) > handlers // ROWS_AT_ONCE
    return max(after - before for before, after in pairwise(turns))

"""What the page shows: rates, verdict, limits and nsqd's figures, never totals since the start."""

import json
from dataclasses import replace

import pytest

from nsqkit.admin import IntakeState
from nsqkit.monitor.view import reason_of
from tests.unit.monitor.bench import CHARGE, NOTIFY, Shop


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_without_messages_nothing_is_known(shop: Shop) -> None:
    state = shop.monitor.state()
    assert state["verdict"]["word"] == "Unknown"
    assert [row["m1"] for row in state["handlers"]] == [None, None]
    assert [row["level"] for row in state["handlers"]] == ["unknown", "unknown"]


def test_rates_are_of_windows(shop: Shop) -> None:
    shop.run(240)
    shop.run(60, failed=4)
    charge, notify = shop.monitor.state()["handlers"]
    assert (charge["now"], charge["m1"], charge["m5"]) == (0.4, 0.4, 0.08)
    assert (charge["failed"], charge["received"], charge["throughput"]) == (240, 600, 10.0)
    assert notify["m1"] == 0.0


def test_the_verdict_names_handler_time_type_and_line(shop: Shop) -> None:
    shop.run(600)
    shop.run(120, failed=4)
    verdict = shop.monitor.state()["verdict"]
    assert verdict["line"].startswith(
        "Charge requeues 40 % since 14:10: ConnectionRefusedError at monitor/bench.py:"
    )
    assert verdict["line"].endswith("Other handlers are healthy.")
    assert (verdict["handler"], verdict["cause"]) == ("Charge", "looks like a dependency")


def test_since_is_left_out_if_the_data_do_not_reach_back(shop: Shop) -> None:
    shop.run(1000, failed=4)
    state = shop.monitor.state()
    assert (state["handlers"][0]["since"], state["handlers"][0]["since_step"]) == ("", None)
    assert "since before the data begin" in state["verdict"]["line"]


def test_a_handler_that_recovers_is_healthy_again(shop: Shop) -> None:
    shop.run(60, failed=4)
    shop.run(61)
    assert shop.monitor.state()["verdict"]["word"] == "Healthy"


def test_a_pause_is_shown_as_such(shop: Shop) -> None:
    shop.run(60)
    shop.states[NOTIFY] = replace(shop.states[NOTIFY], state=IntakeState.KILL_SWITCH_OPEN, remaining_s=29.6)
    shop.notify.paused(True)
    shop.run(1)
    state = shop.monitor.state()
    row = state["handlers"][1]
    assert (row["level"], row["state"], row["remaining_s"]) == ("held", "kill_switch_open", 30)
    assert row["paused"] == [89]
    assert state["marks"][-1] == {
        "step": 89,
        "at": 1_795_960_861,
        "kind": "kill switch open",
        "text": "Notify: kill switch open",
        "handler": "Notify",
    }
    assert "kill switch open" in state["verdict"]["line"]


def test_marks_leave_with_their_step(shop: Shop) -> None:
    assert [mark["kind"] for mark in shop.monitor.state()["marks"]] == ["start"]
    shop.run(900)
    assert shop.monitor.state()["marks"] == []


def test_nsqds_figures_are_shown_for_handlers_and_by_nsqd(shop: Shop) -> None:
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
    state = shop.monitor.state()
    assert [row["depth"] for row in state["handlers"]] == [14, None]
    assert state["nsqd"] == [
        {"address": "a:4150", "states": {"subscribed": 2}, "rdy": 5, "depth": 7},
        {"address": "b:4150", "states": {}, "rdy": 5, "depth": 7},
    ]


def test_an_age_above_all_buckets_is_json_too(shop: Shop) -> None:
    shop.charge.age(1e9)
    shop.run(1)
    state = json.loads(shop.monitor.state_text())
    assert state["handlers"][0]["oldest_s"] == -1


def test_a_limit_that_is_passed_is_in_the_verdict(shop: Shop) -> None:
    for _ in range(30):
        shop.metrics.event_loop_lag(0.2)
        shop.notify.executor_waits([20.0])
        shop.run(1)
    state = shop.monitor.state()
    levels = {each["key"]: each["level"] for each in state["saturation"]}
    assert (levels["lag"], levels["wait"]) == ("warn", "warn")
    assert "Event-loop lag 250 ms, limit 100" in state["verdict"]["line"]


def test_the_state_is_bounded_whatever_the_number_of_messages(shop: Shop) -> None:
    shop.run(60, received=10, failed=1)
    before = len(shop.monitor.state_text())
    shop.run(60, received=1_000_000, failed=50)
    assert len(shop.monitor.state_text()) < before + 200


def test_errors_have_examples_and_times(shop: Shop) -> None:
    shop.run(10, failed=2)
    errors = shop.monitor.errors("Charge")
    assert errors is not None
    assert [(each["type"], each["count"]) for each in errors] == [("ConnectionRefusedError", 20)]
    assert errors[0]["last"] - errors[0]["first"] == 9
    first = errors[0]["examples"][0]
    assert (first["text"], first["attempts"]) == ("ConnectionRefusedError: no gateway", 1)
    assert "bench.py" in first["stack"]
    assert shop.monitor.errors("Notify") == []
    assert shop.monitor.errors("Nobody") is None


def test_a_pause_that_is_none_has_no_reason(shop: Shop) -> None:
    assert reason_of(shop.handler_states(), "Charge") == ""
    assert reason_of(shop.handler_states(), "Nobody") == ""

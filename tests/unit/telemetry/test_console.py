"""Console: one line that a person on call can read at a glance, in 120 columns."""

import re
from typing import Any

import pytest

from nsqkit.telemetry.console import WIDTH, console_line

FAILURE: dict[str, Any] = {
    "timestamp": "14:18:13",
    "level": "warning",
    "event": "message_settled",
    "request_id": "r-1",
    "event_id": "basket-31317112424",
    "message_id": "0f3b2a1c00000024",
    "topic": "orders",
    "channel": "payments",
    "handler": "ChargePayment",
    "action": "order.created.v1",
    "attempts": 1,
    "max_attempts": 6,
    "outcome": "requeue",
    "reason": "error",
    "delay_s": 0.211,
    "error_type": "GatewayError",
    "at": "/srv/shop/orders.py:78",
    "detail": "GatewayError: no answer",
    "latency_ms": 1.092,
}


def line(**changes: Any) -> str:
    fields = {name: value for name, value in (FAILURE | changes).items() if value is not None}
    return console_line(fields, colors=False)


def test_a_failure_is_level_handler_outcome_error_place_and_short_id() -> None:
    assert line() == (
        "14:18:13 warning  ChargePayment  requeue in 0.2s, try 1/6  GatewayError: no answer"
        "  orders.py:78  00000024"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"detail": None}, "  GatewayError  orders.py", id="an error without a text"),
        pytest.param({"error_type": None, "detail": "card refused"}, "  card refused  ", id="no error"),
        pytest.param(
            {"error_type": "DecodeError", "detail": "topic orders: order.created.v1 at $.data.id: missing"},
            "  DecodeError: $.data.id: missing  ",
            id="topic and type of the event are not repeated",
        ),
        pytest.param({"at": None}, "no answer  00000024", id="no place"),
        pytest.param(
            {
                "outcome": "success",
                "error_type": None,
                "detail": None,
                "at": None,
                "reason": None,
                "delay_s": None,
            },
            " success, try 1/6  00000024",
            id="nothing but an outcome",
        ),
        pytest.param(
            {"event": "message_kept", "outcome": None, "reason": "breaker_open", "delay_s": None},
            " kept (breaker_open), try 1/6  GatewayError",
            id="a message that is kept",
        ),
        pytest.param(
            {"event": "outcomes_repeated", "message_id": None, "count": 57, "for_s": 5.0},
            " requeue, 57 more in 5s  GatewayError: no answer  orders.py:78",
            id="several deliveries",
        ),
        pytest.param({"detail": "GatewayError: a\nb"}, "GatewayError: a\\nb  ", id="it stays one line"),
    ],
)
def test_what_is_not_there_takes_no_room(changes: dict[str, Any], text: str) -> None:
    assert text in line(**changes)


@pytest.mark.parametrize("handler", ["C", "ChargePayment", "ReconcileInvoicesOfSubsidiary"])
def test_a_long_error_is_cut_to_the_width(handler: str) -> None:
    cut = line(handler=handler, detail="GatewayError: " + "x" * 300)
    assert len(cut) == WIDTH
    assert cut.endswith("xx…  orders.py:78  00000024")


def test_of_an_error_a_little_is_always_shown() -> None:
    assert "  GatewayError: x…  " in line(handler="H" * 90, detail="GatewayError: xxxxxxx")


def test_a_handlers_own_line_has_its_fields_and_no_ids_but_the_short_one() -> None:
    own = {name: FAILURE[name] for name in list(FAILURE)[3:10]}
    fields = {"timestamp": "14:18:13", "level": "info", "event": "charged", **own, "attempts": 1}
    shown = console_line({**fields, "order": 31, "note": "two words", "none": ""}, colors=False)
    assert shown == ("14:18:13 info     ChargePayment  charged  order=31 note='two words' none=''  00000024")
    assert ", try 2  order=31" in console_line({**fields, "attempts": 2, "order": 31}, colors=False)


def test_a_line_about_no_message_has_all_its_fields() -> None:
    fields = {
        "timestamp": "1",
        "level": "info",
        "event": "nsqd_connected",
        "topic": "orders",
        "handler": "Reserve",
    }
    assert console_line(fields, colors=False) == "1 info     Reserve        nsqd_connected  topic=orders"


def test_colours_change_no_character() -> None:
    coloured = console_line(FAILURE, colors=True)
    assert "\x1b[33mwarning \x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == line()


def test_nobody_else_can_control_the_terminal() -> None:
    hostile = dict.fromkeys(FAILURE, "\x1b[2J\r\n") | {"event": "x\x1b[2J", "exception": "a\n\x1b[2J"}
    shown = console_line(hostile, colors=False)
    assert "\x1b" not in shown
    assert shown.count("\n") == 2  # the stack's own two lines


def test_a_stack_follows_the_line() -> None:
    assert line(exception="Traceback\n  f()").endswith("00000024\nTraceback\n  f()")

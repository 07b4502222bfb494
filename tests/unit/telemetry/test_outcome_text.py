"""Outcome text: an outcome in a few words."""

from typing import Any

import pytest

from nsqkit.telemetry.outcome_text import duration_text, outcome_text

TRY = {"attempts": 1, "max_attempts": 6}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param(
            {"outcome": "requeue", "reason": "error", "delay_s": 0.211, **TRY},
            "requeue in 0.2s, try 1/6",
            id="an error is requeued",
        ),
        pytest.param(
            {"outcome": "requeue", "reason": "timeout", "delay_s": 900.0, **TRY},
            "requeue in 15min (timeout), try 1/6",
            id="a reason that is not plain is named",
        ),
        pytest.param(
            {"outcome": "requeue", "reason": "shutdown", "delay_s": 0.0, **TRY},
            "requeue (shutdown), try 1/6",
            id="without a delay",
        ),
        pytest.param(
            {"outcome": "dead_letter", "reason": "exhausted", "attempts": 6, "max_attempts": 6},
            "dead letter (exhausted), try 6/6",
            id="the tries are used up",
        ),
        pytest.param(
            {"outcome": "dead_letter", "reason": "undecodable", **TRY},
            "dead letter (undecodable)",
            id="the number of tries does not matter",
        ),
        pytest.param({"outcome": "lease_lost", **TRY}, "lease lost, try 1/6", id="a lost lease"),
        pytest.param({"outcome": "success", "attempts": 2}, "success, try 2", id="without a limit"),
        pytest.param(
            {"outcome": "requeue", "reason": "error", "count": 57, "for_s": 5.0},
            "requeue, 57 more in 5s",
            id="several deliveries",
        ),
        pytest.param(
            {"outcome": "dead_letter", "reason": "rule", "count": 2, "for_s": 60.0},
            "dead letter (rule), 2 more in 60s",
            id="several dead letters",
        ),
    ],
)
def test_the_text_is_what_a_person_looks_for(fields: dict[str, Any], text: str) -> None:
    assert outcome_text(fields) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0s"), (0.25, "0.2s"), (9.96, "10s"), (45.4, "45s"), (120.0, "2min"), (7200.0, "2.0h")],
)
def test_a_duration_has_its_usual_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text

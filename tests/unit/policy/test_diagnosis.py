"""Diagnoses: the verdict on a worker in words, and that it never says more than the evidence does."""

import re
from dataclasses import replace

import pytest

from nsqkit.policy.diagnosis import Diagnosis, ErrorGroup, Finding, diagnose
from nsqkit.policy.requeue_level import Level, Share
from nsqkit.policy.saturation import Saturation

GATEWAY = ErrorGroup("GatewayError", "handlers/orders.py:78", 97)
TIMEOUT = ErrorGroup("HandlerTimeoutError", "", 3)
CHARGE = Finding(
    "ChargePayment", Level.BAD, Share(31, 100), since_ago_s=270.0, since="14:02", groups=(GATEWAY, TIMEOUT)
)
BEFORE, AFTER = (Saturation("loop lag 250 ms, limit 100 ms", for_s) for for_s in (300, 30))
NOTIFY = Finding("NotifyCustomer", Level.OK, Share(0, 100))
FULL = Saturation("5 of 5 in flight", 300, "SalesTotals")
TOTALS = Finding("SalesTotals", Level.OK, Share(0, 100), saturation=FULL)
FULL_CHARGE = replace(CHARGE, saturation=replace(FULL, handler="ChargePayment"))
FULL_LATER = replace(CHARGE, saturation=Saturation("5 of 5 in flight", 30, "ChargePayment"))
RESERVE = Finding("ReserveStock", Level.OK, Share(0, 100))


def _diagnosis(
    *findings: Finding, changed_ago_s: float = 3600.0, saturated: tuple[Saturation, ...] = ()
) -> Diagnosis:
    return diagnose(findings, changed_ago_s=changed_ago_s, saturated=saturated)


def test_a_failing_handler_is_named_with_share_time_type_and_line() -> None:
    found = _diagnosis(NOTIFY, CHARGE, RESERVE)
    assert found.line == (
        "ChargePayment requeues 31 % since 14:02: GatewayError at handlers/orders.py:78. "
        "Other handlers are healthy."
    )
    assert (found.level, found.word, found.handler) == (Level.BAD, "Failing", "ChargePayment")


@pytest.mark.parametrize(
    ("findings", "changed_ago_s", "saturated", "cause"),
    [
        pytest.param((CHARGE, NOTIFY), 3600.0, (), "looks like a dependency", id="one line, others healthy"),
        pytest.param((CHARGE,), 3600.0, (), "cause not known", id="without another handler to compare with"),
        pytest.param((CHARGE,), 300.0, (), "looks like the code", id="it began just after the start"),
        pytest.param((CHARGE, NOTIFY), 300.0, (), "cause not known", id="signs of two causes"),
        pytest.param((CHARGE, NOTIFY), 100.0, (), "looks like a dependency", id="it began before the deploy"),
        pytest.param(
            (CHARGE, NOTIFY), 3600.0, (BEFORE,), "looks like saturation", id="a limit was passed first"
        ),
        pytest.param(
            (CHARGE, NOTIFY), 3600.0, (AFTER,), "looks like a dependency", id="a limit was passed later"
        ),
        pytest.param(
            (FULL_CHARGE,), 3600.0, (), "looks like saturation", id="the handler itself was full first"
        ),
        pytest.param(
            (FULL_CHARGE, NOTIFY), 3600.0, (), "cause not known", id="full first, but errors at one line"
        ),
        pytest.param((FULL_LATER,), 3600.0, (), "cause not known", id="the handler was full later"),
        pytest.param((CHARGE, TOTALS), 3600.0, (), "cause not known", id="another handler is full"),
        pytest.param(
            (Finding("A", Level.BAD, Share(9, 9), groups=(TIMEOUT, TIMEOUT)), NOTIFY),
            3600.0,
            (),
            "cause not known",
            id="errors at several lines",
        ),
        pytest.param(
            (CHARGE, Finding("B", Level.BAD, Share(20, 100)), NOTIFY),
            3600.0,
            (),
            "cause not known",
            id="two handlers fail",
        ),
    ],
)
def test_cause(
    findings: tuple[Finding, ...], changed_ago_s: float, saturated: tuple[Saturation, ...], cause: str
) -> None:
    """A cause is named only if the signs point to it and to no other."""
    assert _diagnosis(*findings, changed_ago_s=changed_ago_s, saturated=saturated).cause == cause


def test_what_is_not_known_is_said() -> None:
    assert any(each.startswith("Not known:") for each in _diagnosis(CHARGE, NOTIFY).evidence)


@pytest.mark.parametrize(
    ("findings", "saturated", "word", "line"),
    [
        pytest.param((), (), "Unknown", "No messages in the last minute.", id="no handler"),
        pytest.param(
            (Finding("A", Level.UNKNOWN, Share(0, 0)),),
            (),
            "Unknown",
            "No messages in the last minute.",
            id="no messages",
        ),
        pytest.param(
            (NOTIFY, RESERVE), (), "Healthy", "2 handlers are within their usual requeue rate.", id="healthy"
        ),
        pytest.param(
            (NOTIFY, Finding("A", Level.OK, Share(0, 3))),
            (),
            "Healthy",
            "No handler fails.",
            id="few messages",
        ),
        pytest.param(
            (NOTIFY,),
            (BEFORE,),
            "To watch",
            "No handler fails, but the process is saturated: loop lag 250 ms, limit 100 ms.",
            id="saturated",
        ),
        pytest.param(
            (NOTIFY, TOTALS),
            (),
            "To watch",
            "No handler fails, but SalesTotals is saturated: 5 of 5 in flight.",
            id="a handler is saturated",
        ),
        pytest.param(
            (TOTALS,),
            (BEFORE,),
            "To watch",
            "No handler fails, but the process is saturated: loop lag 250 ms, limit 100 ms.",
            id="the process too, which may be why",
        ),
        pytest.param(
            (Finding("A", Level.UNKNOWN, Share(0, 0), saturation=FULL),),
            (),
            "To watch",
            "No handler fails, but SalesTotals is saturated: 5 of 5 in flight.",
            id="full without a delivery for a minute",
        ),
        pytest.param(
            (NOTIFY, Finding("A", Level.WARN, Share(6, 100))),
            (),
            "To watch",
            "A requeues 6 %, more than usual. No handler is failing.",
            id="to watch",
        ),
        pytest.param(
            (NOTIFY, Finding("A", Level.HELD, Share(0, 0), paused="kill switch open")),
            (),
            "Paused",
            "A takes in no messages: kill switch open.",
            id="paused",
        ),
        pytest.param(
            (Finding("A", Level.HELD, Share(0, 0)), Finding("B", Level.HELD, Share(0, 0))),
            (),
            "Paused",
            "A takes in no messages: paused. 1 more handler is paused.",
            id="two paused",
        ),
        pytest.param(
            (Finding("A", Level.BAD, Share(5, 50)), Finding("B", Level.BAD, Share(20, 50)), NOTIFY),
            (),
            "Failing",
            "B requeues 40 %, since before the data begin. 1 more handler is failing.",
            id="the worst is named",
        ),
        pytest.param(
            (CHARGE, Finding("A", Level.UNKNOWN, Share(0, 0))),
            (),
            "Failing",
            "ChargePayment requeues 31 % since 14:02: GatewayError at handlers/orders.py:78.",
            id="handlers without messages are not called healthy",
        ),
    ],
)
def test_words(
    findings: tuple[Finding, ...], saturated: tuple[Saturation, ...], word: str, line: str
) -> None:
    found = _diagnosis(*findings, saturated=saturated)
    assert (found.word, found.line) == (word, line)


def test_handlers_with_few_messages_are_named_as_not_known() -> None:
    few = [Finding(name, Level.OK, Share(0, 1)) for name in "ABCDE"]
    assert "Not known: fewer than 50 deliveries a minute of A, B, C and 2 more." in _diagnosis(*few).evidence
    assert "Not known: fewer than 50 deliveries a minute of A." in _diagnosis(few[0]).evidence


def test_the_key_changes_with_the_verdict_and_not_with_the_figures() -> None:
    more = Finding("ChargePayment", Level.BAD, Share(40, 100), 270.0, "14:02", (GATEWAY, TIMEOUT))
    assert _diagnosis(more, NOTIFY).key == _diagnosis(CHARGE, NOTIFY).key != _diagnosis(NOTIFY).key


@pytest.mark.parametrize(
    "finding",
    [
        pytest.param(NOTIFY, id="healthy"),
        pytest.param(CHARGE, id="failing"),
        pytest.param(Finding("A", Level.WARN, Share(6, 100)), id="to watch"),
        pytest.param(Finding("A", Level.HELD, Share(0, 0)), id="paused"),
    ],
)
def test_a_saturated_handler_is_named_whatever_the_verdict(finding: Finding) -> None:
    found = _diagnosis(finding, TOTALS)
    assert re.search(
        "SalesTotals(:| is saturated:) 5 of 5 in flight", " ".join((found.line, *found.evidence))
    )
    assert "Other handlers are healthy." not in found.line


def test_only_some_saturated_handlers_are_named() -> None:
    full = [
        Finding(name, Level.OK, Share(0, 100), saturation=replace(FULL, handler=name)) for name in "ABCDE"
    ]
    (evidence,) = [each for each in _diagnosis(*full).evidence if each.startswith("Saturated too")]
    assert evidence.endswith("D: 5 of 5 in flight; 1 more.")

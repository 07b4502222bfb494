"""`nsqkit status`: what is printed, and with which code it ends."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from nsqkit.ops.status import ChannelStatus, NsqdChannel, StatusReport

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit


def report(*nsqd: NsqdChannel, problems: tuple[str, ...] = ()) -> StatusReport:
    channels = (
        ChannelStatus("ReserveStock", "orders", "stock", nsqd),
        ChannelStatus("ReserveStock", "orders.stock.retry", "stock", ()),
    )
    return StatusReport(channels, tuple(each.nsqd for each in nsqd), problems)


WORKING = NsqdChannel("a:4151", 0, 1200, 3, 2, 1, "no")
PAUSED = NsqdChannel("b:4151", 0, 34, 1, 0, 1, "channel")
STOPPED = NsqdChannel("a:4151", 8, 0, 0, 0, 1, "topic")
MISSING = NsqdChannel("c:4151", 9, 0, 0, 0, 0, "no", is_missing=True)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> list[StatusReport]:
    """What the nsqd report; the test fills it."""
    answers: list[StatusReport] = []
    monkeypatch.setattr("nsqkit.ops.status.status", lambda *_: answers[0])
    return answers


@pytest.mark.parametrize(
    ("nsqd", "cells"),
    [
        pytest.param((WORKING,), "depth flight deferred clients paused nsqd|1,200 3 2 1 no 1", id="one nsqd"),
        pytest.param(
            (WORKING, PAUSED),
            "depth flight deferred clients paused nsqd|1,234 4 2 2 channel 1/2 2",
            id="two are added up, and one of them is paused",
        ),
        pytest.param(
            (STOPPED,),
            "topic depth flight deferred clients paused nsqd|8 0 0 0 1 topic 1",
            id="messages wait in a paused topic",
        ),
        pytest.param(
            (MISSING,),
            "topic depth flight deferred clients paused nsqd|9 - - - - no 0",
            id="messages wait in a topic without the channel",
        ),
    ],
)
def test_a_channel_is_a_row(
    nsqkit: "Nsqkit",
    handlers: str,
    answer: list[StatusReport],
    monkeypatch: pytest.MonkeyPatch,
    *,
    nsqd: tuple[NsqdChannel, ...],
    cells: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    answer.append(report(*nsqd))
    result = nsqkit("status", handlers)
    assert (result.code, result.err) == (0, "")
    heading, values = cells.split("|")
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert f"handler topic / channel {heading}" in lines
    assert f"ReserveStock orders / stock {values}" in lines
    retry = next(line for line in lines if "retry" in line)
    assert retry.endswith("- - - - no 0")


def test_a_problem_is_a_line_and_the_figures_are_shown(
    nsqkit: "Nsqkit", handlers: str, answer: list[StatusReport]
) -> None:
    answer.append(report(WORKING, problems=("nsqd b:4151: gone",)))
    result = nsqkit("status", handlers)
    assert (result.code, result.err) == (1, "error: nsqd b:4151: gone\n")
    assert "1,200" in result.out


def test_without_an_answer_there_is_no_table(
    nsqkit: "Nsqkit", handlers: str, answer: list[StatusReport]
) -> None:
    answer.append(report(problems=("nsqd a:4151: gone",)))
    result = nsqkit("status", handlers)
    assert (result.code, result.out, result.err) == (1, "", "error: nsqd a:4151: gone\n")


def test_json_has_each_nsqd_and_the_problems(
    nsqkit: "Nsqkit", handlers: str, answer: list[StatusReport]
) -> None:
    answer.append(report(WORKING, PAUSED, problems=("nsqd c:4151: gone",)))
    result = nsqkit("status", handlers, "--json")
    assert (result.code, result.err) == (1, "")
    shown: dict[str, Any] = json.loads(result.out)
    assert shown["asked"] == ["a:4151", "b:4151"]
    assert shown["problems"] == ["nsqd c:4151: gone"]
    assert [each["paused"] for each in shown["channels"][0]["nsqd"]] == ["no", "channel"]


def test_an_nsqd_must_be_named(nsqkit: "Nsqkit", handlers: str) -> None:
    result = nsqkit("status", handlers)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: which nsqd? give --nsqd HOST:4150")

"""The short form of `scripts/chaos`: no order is lost, whatever breaks around the workers."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import orders as kinds
from tests.chaos.audit import Tally, audit
from tests.chaos.conftest import TIME_LIMIT_S, Chaos
from tests.chaos.ledger import PROCESSES, Reader
from tests.chaos.orders import DEAD_LETTERS, ROOT
from tests.chaos.phases import Phase, many
from tests.chaos.run import run_phase
from tests.waiting import until_blocking

pytestmark = [pytest.mark.slow, pytest.mark.nsqd]


@pytest.mark.parametrize("phase", ["kills", "nsqd-restarts", "cuts", "stalls"])
def test_no_order_is_lost(phase: str, chaos: Chaos) -> None:
    found = chaos(phase)
    assert found["problems"] == []
    assert found["lost"] == 0
    assert found["faults"] == found["planned"], "each was carried out"
    assert found["confirmed"] == found["succeeded"] + found["dead_lettered"] >= 300


def test_no_order_is_lost_when_everything_comes_together(chaos: Chaos) -> None:
    found = chaos("everything")
    assert found["problems"] == []
    assert found["lost"] == 0
    assert found["faults"] == found["planned"]
    assert set(found["planned"]) == {"kill", "deploy", "nsqd-restart", "cut", "stall"}
    assert found["confirmed"] == found["succeeded"] + found["dead_lettered"] >= 2000


def test_every_handler_fault_ends_as_it_should(chaos: Chaos) -> None:
    found = chaos("handlers")
    assert found["problems"] == []
    living = {kinds.SLOW, kinds.FLAKY, kinds.HANGING, kinds.GREEDY, kinds.BLOCKED}
    for kind in living | {kinds.HOPELESS, kinds.UNDECODABLE}:
        tally = found["kinds"][kind]
        ended = "dead_lettered" if kind in DEAD_LETTERS else "succeeded"
        assert tally["confirmed"] == tally[ended] > 0, kind


def test_a_clean_deploy_costs_no_timeout_and_repeats_only_what_it_cancelled(chaos: Chaos) -> None:
    """The audit compares how often each order was handed to a handler with how often it was cancelled."""
    found = chaos("deploys")
    assert found["problems"] == []
    assert found["is_clean"]
    assert found["timeouts"] == 0
    assert set(found["exit_codes"].values()) == {0}
    assert found["duplicated"] == 0
    assert found["cancelled"] > 0, "else nothing was in hand when a worker was told to stop"


def test_an_outage_costs_no_message_and_reaches_no_other_handler(chaos: Chaos) -> None:
    """None of these orders may be a dead letter; the audit knows which others are due meanwhile."""
    found = chaos("outage")
    assert found["problems"] == []
    assert found["faults"] == {"outage": 1}
    for kind in kinds.DEPENDENT:
        tally = found["kinds"][kind]
        assert tally["confirmed"] == tally["succeeded"] > 0, kind


def test_a_half_open_handler_holds_no_more_than_it_may(chaos: Chaos) -> None:
    found = chaos("half-open")
    assert found["problems"] == []
    assert found["max_held"] == 10 + 2 * 4
    assert found["confirmed"] == found["succeeded"] >= 300


def test_fewer_in_flight_than_nsqd_starve_none(chaos: Chaos) -> None:
    found = chaos("few-in-flight")
    assert found["problems"] == []
    assert found["max_running"] == {"single": 1, "triple": 3}
    assert found["confirmed"] == found["succeeded"] >= 300


def test_a_handler_that_ignores_its_cancellation_keeps_no_worker_and_no_message(chaos: Chaos) -> None:
    """The audit compares the exit codes with what each worker left running."""
    found = chaos("deaf")
    assert found["problems"] == []
    assert 1 in found["exit_codes"].values()
    assert found["kinds"]["deaf"]["succeeded"] == found["kinds"]["deaf"]["confirmed"] > 0


async def test_a_worker_that_finishes_what_it_never_handled_is_found_out(
    nsq_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSQKIT_NSQD_BIN", str(nsq_programs))
    special = {20: kinds.FORGOTTEN}
    phase = Phase("careless", 40, {kinds.QUICK: 1}, {}, workers=1, special=special, only_valid=True)
    await run_phase(phase, tmp_path, time_limit_s=300)
    found = audit(tmp_path)
    assert found.total.lost == 1
    assert found.problems == ("1 lost: 0000020-forgotten",)


async def test_many_orders_go_through_one_worker_once_each(
    nsq_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short form of `scripts/chaos memory`; so few say nothing about memory."""
    monkeypatch.setenv("NSQKIT_NSQD_BIN", str(nsq_programs))
    await run_phase(many(20_000), tmp_path, time_limit_s=300)
    found = audit(tmp_path)
    assert found.problems == ()
    assert found.total == Tally(confirmed=20_000, succeeded=20_000)


def test_ctrl_c_ends_everything_that_was_started(nsq_programs: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.chaos", "--only", "kills", "--folder", str(tmp_path / "run"))
    known = os.environ | {"NSQKIT_NSQD_BIN": str(nsq_programs)}
    tool = subprocess.Popen(command, cwd=ROOT, env=known, stderr=subprocess.DEVNULL)
    try:
        confirmed = tmp_path / "run" / "00-kills" / "confirmed.ledger"
        until_blocking(lambda: confirmed.exists() and confirmed.stat().st_size, timeout_s=TIME_LIMIT_S)
        started = [int(pid) for pid, _ in Reader(confirmed.with_name(PROCESSES)).lines()]
        assert len(started) >= 3 + 3, "servers and workers"
        tool.send_signal(signal.SIGINT)
        assert tool.wait(TIME_LIMIT_S) == 130
        assert not [pid for pid in started if is_alive(pid)]
    finally:
        tool.terminate()
        tool.wait(TIME_LIMIT_S)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False

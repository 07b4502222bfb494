"""deploy/systemd: systemd accepts the unit, and the unit leaves workers the time to drain."""

import re
import sys
from pathlib import Path

from tests.deploy.conftest import DEPLOY, Tool, drain_s, run

UNIT = (DEPLOY / "systemd" / "nsqkit.service").read_text()
PROGRAM = "/opt/shop/.venv/bin/nsqkit"


def option(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(value)


def test_systemd_accepts_the_unit(tool: Tool, tmp_path: Path) -> None:
    unit = tmp_path / "nsqkit.service"
    assert PROGRAM in UNIT
    unit.write_text(UNIT.replace(PROGRAM, str(Path(sys.executable).with_name("nsqkit"))))
    ended = run(tool("systemd-analyze"), "verify", unit)
    assert (ended.code, ended.err) == (0, "")


def test_the_workers_have_the_time_to_drain() -> None:
    assert int(option("TimeoutStopSec")) >= drain_s()


def test_the_parent_of_workers_reports_that_it_is_ready() -> None:
    assert option("Type") == "notify"
    assert "--workers" in option("ExecStart").split()
    assert option("ExecReload") == "/bin/kill -HUP $MAINPID"


def test_a_start_waits_while_nsqd_is_away() -> None:
    assert option("TimeoutStartSec") == "infinity"


def test_only_the_parent_gets_sigterm() -> None:
    assert (option("KillSignal"), option("KillMode")) == ("SIGTERM", "mixed")


def test_a_service_that_must_be_corrected_is_not_started_again() -> None:
    assert option("Restart") == "on-failure"
    assert option("RestartPreventExitStatus") == "2"

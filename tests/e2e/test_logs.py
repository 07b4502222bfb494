"""The log of a run: each line has the configured format, and lines inside a handler name its message."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from nsqkit.telemetry.console import WIDTH
from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, ROOT
from tests.waiting import PATIENCE_S

TALKATIVE = """
import asyncio, atexit, logging, warnings
from dataclasses import dataclass
import structlog
from nsqkit import Context, DeadLetter, Handler, event

warnings.warn("imported", DeprecationWarning)

@event("talk.made", version=1, topic="talk")
@dataclass
class Made:
    n: int

class Talk(Handler[Made], channel="talk"):
    async def handle(self, event: Made, ctx: Context) -> None:
        structlog.contextvars.bind_contextvars(order=event.n)
        logging.getLogger("client").error("by logging", extra={"status": 503})
        structlog.get_logger().info("by structlog")
        ctx.log.info("by the context")
        await asyncio.to_thread(logging.getLogger("client").error, "by a thread")
        warnings.warn("deprecated call", UserWarning)

class Fail(Handler[Made], channel="fail"):
    async def handle(self, event: Made, ctx: Context) -> DeadLetter:
        return DeadLetter("no use: " + "x" * 200)

atexit.register(warnings.warn, "exited", ResourceWarning)
"""


def run(tmp_path: Path, *arguments: str, count: int = 1) -> list[str]:
    """Run the handlers with some messages, and return the lines of the log."""
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    (tmp_path / "feed.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(count)))
    known = {name: value for name, value in os.environ.items() if not name.startswith("NSQKIT_")}
    command = [sys.executable, "-m", "nsqkit", "run", "talkative", "--dev", "--feed", "talk=feed.jsonl"]
    done = subprocess.run(
        [*command, "--exit-when-idle", *ANY_PORTS, *NO_ADMIN, *arguments],
        cwd=tmp_path,
        env={**known, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", "NSQKIT_EVENT_LOOP": "asyncio"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_every_line_is_json_from_the_first_warning_to_the_last(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in run(tmp_path)]
    warned = [line["detail"] for line in lines if line["event"] == "python_warning"]
    assert warned == ["imported", "deprecated call", "exited"]
    inside = [line for line in lines if line.get("order") == 0]
    said = {"by logging", "by structlog", "by the context", "by a thread", "python_warning"}
    assert {line["event"] for line in inside} == said
    assert {line["message_id"] for line in inside} == {inside[0]["message_id"]}
    assert {(line["handler"], line["topic"], line["attempts"]) for line in inside} == {("Talk", "talk", 1)}
    assert inside[0]["status"] == 503


def test_on_the_console_like_outcomes_are_one_line_and_a_count_that_fit(tmp_path: Path) -> None:
    lines = run(tmp_path, "--log-format", "console", count=30)
    settled = [line for line in lines if " Fail " in line and "dead letter" in line]
    assert len(settled) == 2
    assert re.search(r"dead letter \(requested\)  no use: x+…  [0-9a-f]{8}$", settled[0])
    assert re.search(r"dead letter \(requested\), 29 more in \S+  no use: x+…$", settled[1])
    assert [len(line) for line in settled] == [WIDTH, WIDTH]

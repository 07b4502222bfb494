"""A handler that blocks the event loop: it is named, and neither nsqd nor another handler is blamed."""

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import NO_ADMIN, ROOT, Start
from tests.integration.conftest import Server

MODULE = """
import threading
from dataclasses import dataclass
from nsqkit import Context, Handler, event

@event("blocked.happened", version=1, topic="blocked")
@dataclass
class Happened:
    n: int

class Blocks(Handler[Happened], channel="blocks"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        threading.Event().wait(2.5)

class Waits(Handler[Happened], channel="waits"):
    async def handle(self, event: Happened, ctx: Context) -> None: ...
"""
BLOCKING_LINE = 1 + MODULE.split("\n").index("        threading.Event().wait(2.5)")


@pytest.mark.nsqd
@pytest.mark.slow
def test_the_handler_is_named_and_nobody_else(
    start: Start, tmp_path: Path, nsqd: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It blocks for longer than connect_timeout_s, while connections open and nsqd's HTTP port is asked."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    (tmp_path / "blocked.py").write_text(MODULE)
    (tmp_path / "feed.jsonl").write_text('{"n": 1}\n' * 3)
    program = start(
        *("run", "blocked", "--nsqd", nsqd.tcp_address, "--nsqd-http", nsqd.http_address, *NO_ADMIN),
        *("--feed", f"blocked={tmp_path}/feed.jsonl", "--exit-when-idle"),
    )
    assert program.wait() == 0, program.err
    blocks = program.said("event_loop_blocked")
    assert {(line["handler"], line["at"]) for line in blocks} == {
        ("Blocks", f"{tmp_path}/blocked.py:{BLOCKING_LINE}")
    }
    assert 1 <= len(blocks) == len(program.said("event_loop_resumed")) <= 3
    blamed = [line for line in program.log if line["level"] in {"warning", "error"} and line not in blocks]
    assert blamed == []

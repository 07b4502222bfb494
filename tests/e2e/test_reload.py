"""`nsqkit run --reload`, with files that really change and processes that really end."""

from pathlib import Path

import pytest

from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, Program, Start
from tests.waiting import until_blocking

TEAM = """
from dataclasses import dataclass
from nsqkit import Context, Handler, event

@event("e2e.reloaded", version=1, topic="reloaded")
@dataclass
class Reloaded:
    n: int

class Work(Handler[Reloaded], channel="work"):
    async def handle(self, event: Reloaded, ctx: Context) -> None:
        ctx.log.info("worked", code=CODE, n=event.n)
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "team"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    module = folder / "e2e_reloaded.py"
    module.write_text(TEAM.replace("CODE", "1"))
    return module


@pytest.fixture
def program(start: Start, team: Path, tmp_path: Path) -> Program:
    feed = tmp_path / "feed.jsonl"
    feed.write_text('{"n": 1}\n')
    program = start(
        *("run", "e2e_reloaded", "--dev", "--reload", "--watch", str(team.parent), *ANY_PORTS, *NO_ADMIN),
        *("--feed", f"reloaded={feed}"),
    )
    program.until(lambda: program.said("worked"))
    return program


def test_a_saved_file_is_what_runs_and_sigterm_ends_all_of_it(team: Path, program: Program) -> None:
    team.write_text(TEAM.replace("CODE", "no_such_name +"))
    program.until(lambda: program.said("reload_failed"))
    team.write_text(TEAM.replace("CODE", "2"))
    program.until(lambda: len(program.said("worker_ready")) == 2)
    assert program.terminate() == 0
    assert len(program.said("worker_stopped")) == 2
    assert [(line["code"], line["n"]) for line in program.said("worked")] == [(1, 1)], "fed once"
    assert "SyntaxError" in program.err
    assert "Traceback" not in program.err


def test_a_worker_does_not_outlive_its_parent(program: Program) -> None:
    program.kill()
    until_blocking(lambda: program.said("worker_stopped"))

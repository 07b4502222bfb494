"""`nsqkit run --workers` with real signals: a service of several processes, its port, table and end."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, Program, Start, get
from tests.integration.conftest import StartNsqd
from tests.ports import free_port
from tests.unit.reading import topics_of
from tests.waiting import until_blocking

TEAM = """
import asyncio, os
from dataclasses import dataclass
from pathlib import Path
from nsqkit import Context, Exponential, Handler, RetryPolicy, event

QUICK = RetryPolicy(max_attempts=9, backoff=Exponential(base_s=0.01, max_s=0.01))

@event("e2e.worked", version=1, topic="worked")
@dataclass
class Worked:
    n: int

class Work(Handler[Worked], channel="work", retry=QUICK, timeout_s=50, max_in_flight=10):
    async def handle(self, event: Worked, ctx: Context) -> None:
        if event.n in (20, 40) and ctx.attempts == 1:
            os.kill(os.getpid(), 9)
        if event.n > 50 and event.n % 7 == 0 and ctx.attempts == 1:
            raise ConnectionError  # after the kills: ADR 0051 says what a kill may count twice
        while event.n == -1 and not Path("FOLDER/released").exists():
            Path("FOLDER/held").touch()
            await asyncio.sleep(0.01)  # a file has no event
"""
WORKERS = ("run", "e2e_workers", "--workers", "2", "--set", "msg_timeout_s=1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "e2e_workers.py").write_text(TEAM.replace("FOLDER", str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def feed(folder: Path, *numbers: int) -> tuple[str, str]:
    path = folder / "feed.jsonl"
    path.write_text("".join(f'{{"n": {number}}}\n' for number in numbers))
    return "--feed", f"worked={path}"


def processes(program: Program) -> list[int]:
    """Return the process ids of a program and of its workers."""
    pid = program._process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


@pytest.mark.nsqd
def test_counts_reconcile_with_nsqds_though_workers_are_killed(
    folder: Path, start: Start, start_nsqd: StartNsqd
) -> None:
    nsqd = start_nsqd()
    given = ("--nsqd", nsqd.tcp_address, "--nsqd-http", nsqd.http_address, *NO_ADMIN)
    program = start(*WORKERS, *given, *feed(folder, *range(1, 61)), "--exit-when-idle")
    assert program.wait() == 0, program.err
    (channel,) = topics_of(nsqd.http_address)["worked"]["channels"]
    row = {name: int(cell) for name, cell in program.rows["Work"].items() if name != "rate"}
    assert (row["success"], row["dead_lettered"]) == (channel["message_count"], 0) == (60, 0)
    assert row["requeued"] == channel["requeue_count"]
    settled = row["success"] + row["requeued"]
    assert settled < row["received"] <= settled + channel["timeout_count"], "a killed worker settled nothing"
    assert channel["depth"] == channel["in_flight_count"] == 0
    ended = program.said("worker_ended")
    assert 1 <= len(ended) <= 2
    assert all("SIGKILL" in line["reason"] for line in ended)


class TestService:
    """A service on the embedded broker."""

    @pytest.fixture
    def systemd(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(folder / "notify"))
            systemd.settimeout(60)
            yield systemd

    def test_systemd_is_told_a_deploy_has_no_gap_and_the_table_is_one(
        self, folder: Path, start: Start, systemd: socket.socket
    ) -> None:
        admin = f"127.0.0.1:{free_port()}"
        port = ("--admin-port", admin.rpartition(":")[2])
        program = start(*WORKERS, "--dev", *ANY_PORTS, *port, *feed(folder, *range(1, 8)))
        assert systemd.recv(100) == b"READY=1"
        assert get(admin, "/readyz") == (200, "ready\n")
        until_blocking(lambda: 'outcome="success"} 7\n' in get(admin, "/metrics")[1])
        before = processes(program)
        os.kill(before[0], signal.SIGHUP)
        while not program.said("workers_replaced"):
            assert get(admin, "/readyz") == (200, "ready\n"), "at every moment"
        after = processes(program)
        assert len(after) == 3
        assert not set(before[1:]) & set(after)
        handlers = json.loads(get(admin, "/handlers")[1])["handlers"]
        assert [(each["name"], each["worker"]) for each in handlers] == [("Work", 1), ("Work", 2)]
        assert program.terminate() == 0
        assert systemd.recv(100) == b"STOPPING=1"
        assert list(program.rows) == ["Work"]
        assert program.rows["Work"]["success"] == "7", "those of the replaced workers count"
        numbers = [line["worker"] for line in program.said("worker_stopped")]
        assert sorted(numbers) == [1, 1, 2, 2]
        assert "Traceback" not in program.err

    @pytest.fixture
    def held(self, folder: Path, start: Start) -> Program:
        """A service with a message that a handler works on."""
        given = ("--dev", *ANY_PORTS, *NO_ADMIN, "--set", "grace_s=3600")
        program = start(*WORKERS, *given, *feed(folder, -1))
        program.until(lambda: (folder / "held").exists() and program.said("feed_confirmed"))
        return program

    def test_a_signal_to_every_process_lets_handlers_finish(self, folder: Path, held: Program) -> None:
        """As systemd and a container's init send it."""
        for pid in processes(held):
            os.kill(pid, signal.SIGTERM)
        held.until(lambda: len(held.said("worker_stopping")) == 2)
        (folder / "released").touch()
        assert held.wait() == 0
        assert held.rows["Work"]["success"] == "1"

    def test_a_second_signal_ends_all_processes_at_once(self, held: Program) -> None:
        pids = processes(held)
        os.kill(pids[0], signal.SIGTERM)
        held.until(lambda: held.said("worker_stopping"))
        os.kill(pids[0], signal.SIGTERM)
        assert held.wait() == 1
        assert "second signal" in held.err
        until_blocking(lambda: not any(map(is_running, pids)))

    def test_no_worker_outlives_the_parent(self, folder: Path, held: Program) -> None:
        held.kill()
        until_blocking(lambda: len(held.said("worker_stopping")) == 2)
        (folder / "released").touch()
        until_blocking(lambda: len(held.said("worker_stopped")) == 2)


def test_broken_code_ends_the_service_with_one_line(folder: Path, start: Start) -> None:
    (folder / "e2e_workers.py").write_text("import no_such_thing")
    program = start(*WORKERS, "--dev", *ANY_PORTS, *NO_ADMIN)
    assert program.wait() == 2
    assert "error: " in program.err
    assert "no_such_thing" in program.err
    assert program.said("worker_failed")
    assert "Traceback" not in program.err

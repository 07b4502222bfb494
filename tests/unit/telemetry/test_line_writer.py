"""Line writer: a reader that does not read stops nobody, and no line is lost or reordered without a word."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsqkit.telemetry import line_writer
from nsqkit.telemetry.line_writer import LineWriter
from tests.waiting import PATIENCE_S, until_blocking

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe that holds 64 KiB, as the reading end and the writing end."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_lines(reading: int, last: bytes) -> list[bytes]:
    """Read until a line comes."""
    found = b""
    while not found.endswith(last + b"\n"):
        found += os.read(reading, 1 << 16)
    return found.splitlines()


def nothing(_: int) -> None:
    """Report nothing."""


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "nsqkit-log"]


def test_a_line_is_in_the_pipe_when_write_returns(pipe: Pipe) -> None:
    """So a process that dies at once has written it, and no thread is needed."""
    LineWriter(pipe[1], nothing).write(b"one\n")
    os.set_blocking(pipe[0], False)
    assert os.read(pipe[0], 100) == b"one\n"
    assert threads() == []


def test_a_full_pipe_stops_nobody_and_what_waits_is_written_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe[1], nothing)
    lines = [b"%d %s" % (number, b"x" * 100) for number in range(3000)]  # 300 KB
    for line in lines:
        writer.write(line + b"\n")
    assert threads() == ["nsqkit-log"]
    assert read_lines(pipe[0], lines[-1]) == lines
    assert writer.dropped == 0
    until_blocking(lambda: threads() == [])


def test_lines_longer_than_the_pipe_are_whole(pipe: Pipe) -> None:
    writer = LineWriter(pipe[1], nothing)
    lines = [bytes([letter]) * 200_000 for letter in b"abc"]
    for line in lines:
        writer.write(line + b"\n")
    assert read_lines(pipe[0], lines[-1]) == lines


def test_what_does_not_fit_is_dropped_counted_and_reported(pipe: Pipe) -> None:
    reports: list[int] = []

    def report(count: int) -> None:
        reports.append(count)
        writer.write(b"%d dropped\n" % count)

    writer = LineWriter(pipe[1], report, max_waiting_bytes=10_000)
    for number in range(2000):
        writer.write(b"%04d%s\n" % (number, b"x" * 95))
    assert writer.dropped > 1000
    assert reports == []  # there is no room for the report either
    found = read_lines(pipe[0], b"%d dropped" % writer.dropped)
    assert [int(line[:4]) for line in found[:-1]] == list(range(2000 - writer.dropped))
    writer.write(b"next\n")
    assert read_lines(pipe[0], b"next") == [b"next"]
    assert reports == [writer.dropped]


def test_the_report_is_where_the_lines_are_missing(pipe: Pipe) -> None:
    writer = LineWriter(
        pipe[1], lambda count: writer.write(b"%d dropped\n" % count), max_waiting_bytes=10_000
    )
    number = 0
    while writer.dropped < 10:
        writer.write(b"%04d%s\n" % (number, b"x" * 95))
        number += 1
    found = os.read(pipe[0], 1 << 16).splitlines()
    until_blocking(lambda: writer.flush(0.0))
    writer.write(b"after\n")
    found += read_lines(pipe[0], b"after")
    assert [line[:7] for line in found[-2:]] == [b"10 drop", b"after"]


def test_threads_write_whole_lines(pipe: Pipe) -> None:
    writer = LineWriter(pipe[1], nothing)
    line = b"y" * 5000  # more than fits into one write

    def write() -> None:
        for _ in range(20):
            writer.write(line + b"\n")

    writers = [threading.Thread(target=write) for _ in range(4)]
    for each in writers:
        each.start()
    found = b""
    while found.count(b"\n") < 80:
        found += os.read(pipe[0], 1 << 16)
    for each in writers:
        each.join(PATIENCE_S)
    assert found.splitlines() == [line] * 80


def test_a_line_that_is_written_inside_of_a_write_comes_after_it(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the garbage collector finds a lost task."""
    writer = LineWriter(pipe[1], nothing)
    write = os.write

    def collecting(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        writer.write(b"inner\n")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", collecting)
    writer.write(b"outer\n")
    assert read_lines(pipe[0], b"inner") == [b"outer", b"inner"]


def test_flush_waits_for_the_reader_but_not_for_ever(pipe: Pipe) -> None:
    writer = LineWriter(pipe[1], nothing)
    assert writer.flush(0.0)
    for _ in range(200):
        writer.write(b"x" * 1000 + b"\n")
    assert not writer.flush(0.01)
    reader = threading.Thread(target=read_lines, args=(pipe[0], b"last"))
    writer.write(b"last\n")
    reader.start()
    assert writer.flush(PATIENCE_S)
    reader.join(PATIENCE_S)


def test_a_pipe_without_a_reader_stops_nobody() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, nothing)
    os.close(reading)
    writer.write(b"unheard\n")
    os.close(writing)
    writer.write(b"unheard\n")
    assert writer.flush(0.0)


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("wb") as stream:
        writer = LineWriter(stream.fileno(), nothing)
        writer.write(b"x" * 100_000 + b"\n")
        writer.write(b"y\n")
    assert file.read_bytes() == b"x" * 100_000 + b"\ny\n"


def test_a_pipe_that_never_blocks_loses_no_line(pipe: Pipe) -> None:
    """Another process may have made it so."""
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1], nothing)
    lines = [b"%d %s" % (number, b"x" * 500) for number in range(500)]
    for line in lines:
        writer.write(line + b"\n")
    assert read_lines(pipe[0], lines[-1]) == lines


def test_a_descriptor_has_one_writer_and_all_are_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "_writers", {})
    writer = line_writer.writer_of(pipe[1], nothing)
    assert line_writer.writer_of(pipe[1], nothing) is writer
    writer.dropped = 7
    assert line_writer.lines_dropped() == 7


NO_FORK_WARNING = ("-W", "ignore:This process:DeprecationWarning")  # of Python 3.12: it has threads
FORKING = """
import os, sys
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
logs.configure_logs(Settings(log_format="json"))
for number in range(1000):
    logs.get_logger().info("parent", text="x" * 200)  # more than the pipe holds: a thread waits for room
if not os.fork():
    logs.get_logger().info("child")
    sys.exit()
os.wait()
print("ready", flush=True)
sys.stdin.readline()
logs.get_logger().info("last")
"""


def started(program: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *NO_FORK_WARNING, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def test_lines_are_written_at_exit_and_a_forked_process_repeats_none() -> None:
    with started(FORKING) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        _, err = process.communicate("\n", timeout=PATIENCE_S)
    events = [line.split('"event":"')[1].split('"')[0] for line in err.splitlines()]
    assert events.count("parent") == 1000
    assert events[-1] == "last"
    assert process.returncode == 0


def test_a_forked_process_that_logs_nothing_does_not_write_what_waits_in_its_parent(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LineWriter(pipe[1], nothing)
    for _ in range(100):
        writer.write(b"x" * 1000 + b"\n")
    assert not writer.flush(0.0)
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert writer.flush(0.0)
    monkeypatch.undo()
    os.read(pipe[0], 1 << 16)
    until_blocking(lambda: threads() == [])


STUCK = """
import asyncio
from nsqkit.cli.ending import on_second_signal
from nsqkit.program import stop_event
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs, line_writer

async def main():
    stop = stop_event(on_second_signal)
    logs.configure_logs(Settings(log_format="json"))
    while not line_writer.lines_dropped():
        logs.get_logger().warning("unread", text="x" * 9000)
    print("dropped", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    {then}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("then", "signals", "code"),
    [
        pytest.param("pass", 1, 0, id="an end"),
        pytest.param("await asyncio.Event().wait()", 2, 1, id="a second signal"),
    ],
)
def test_a_process_whose_standard_error_nobody_reads_works_and_ends(
    then: str, signals: int, code: int
) -> None:
    with started(STUCK.format(then=then)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "dropped\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        if signals > 1:
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == code

"""nsq's own tools work on the embedded broker as they do on a real nsqd."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Engine, require
from tests.clients.scenarios import CHANNEL, INSTALLED
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.clients

LINES = ["one", "two", "three"]


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of nsq's tools, if they are installed."""
    require(INSTALLED / "bin" / "to_nsq")
    return INSTALLED / "bin"


@contextlib.contextmanager
def running(program: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that goes on until it is told to end; it is killed at the end, or when time is up."""
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(PATIENCE_S, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def end(process: subprocess.Popen[str]) -> None:
    """Tell a program to end, as a person does; it ends cleanly."""
    process.terminate()
    assert process.wait(PATIENCE_S) == 0


def read(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Return the next lines that a program prints."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(lines)]


def publish(engine: Engine, topic: str, *lines: str) -> None:
    engine.post(f"/mpub?topic={topic}", "\n".join(lines).encode())


def test_to_nsq_publishes_the_lines_it_reads(engine: Engine, tools: Path) -> None:
    engine.make_channel("to_nsq")
    subprocess.run(
        [tools / "to_nsq", "-topic=to_nsq", f"-nsqd-tcp-address={engine.tcp_address}"],
        input="\n".join([*LINES, ""]),
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    stats = engine.channel("to_nsq")
    assert (stats["message_count"], stats["depth"]) == (3, 3)


def test_nsq_tail_prints_and_finishes_what_comes(engine: Engine, tools: Path) -> None:
    engine.make_channel("nsq_tail")
    publish(engine, "nsq_tail", *LINES)
    with running(
        tools / "nsq_tail",
        "-topic=nsq_tail",
        f"-channel={CHANNEL}",
        f"-nsqd-tcp-address={engine.tcp_address}",
    ) as tail:
        assert sorted(read(tail, 3)) == sorted(LINES)
        end(tail)
    stats = engine.settled("nsq_tail", messages=3)
    assert (stats["requeue_count"], stats["timeout_count"], stats["client_count"]) == (0, 0, 0)


def test_the_channel_of_nsq_tail_s_own_goes_with_it(engine: Engine, tools: Path) -> None:
    """Without a channel it makes an ephemeral one, which sees only what is published from then on."""
    topic = "nsq_tail.ephemeral"
    engine.make_channel(topic)
    with running(tools / "nsq_tail", f"-topic={topic}", f"-nsqd-tcp-address={engine.tcp_address}") as tail:
        engine.until_channels(topic, 2)
        publish(engine, topic, "seen")
        assert read(tail, 1) == ["seen"]
        end(tail)
    assert engine.until_channels(topic, 1) == [CHANNEL]


def test_nsq_to_file_writes_what_comes_and_finishes_it_once_it_is_synced(
    engine: Engine, tools: Path, tmp_path: Path
) -> None:
    engine.make_channel("nsq_to_file")
    publish(engine, "nsq_to_file", *LINES)
    with running(
        tools / "nsq_to_file",
        "-topic=nsq_to_file",
        f"-channel={CHANNEL}",
        f"-output-dir={tmp_path}",
        f"-nsqd-tcp-address={engine.tcp_address}",
        "-consumer-opt=msg_timeout,60s",
    ) as to_file:
        engine.until("nsq_to_file", lambda stats: stats["in_flight_count"] == 3)
        end(to_file)
    (written,) = tmp_path.iterdir()
    assert sorted(written.read_text().splitlines()) == sorted(LINES)
    assert engine.settled("nsq_to_file", messages=3)["timeout_count"] == 0


def test_nsq_to_nsq_publishes_to_another_topic_and_finishes_then(engine: Engine, tools: Path) -> None:
    engine.make_channel("nsq_to_nsq")
    engine.make_channel("nsq_to_nsq.copy")
    publish(engine, "nsq_to_nsq", *(json.dumps({"text": line}) for line in LINES))
    with running(
        tools / "nsq_to_nsq",
        "-topic=nsq_to_nsq",
        f"-channel={CHANNEL}",
        f"-nsqd-tcp-address={engine.tcp_address}",
        "-destination-topic=nsq_to_nsq.copy",
        f"-destination-nsqd-tcp-address={engine.tcp_address}",
        "-require-json-field=text",
        "-require-json-value=two",
    ) as to_nsq:
        engine.settled("nsq_to_nsq", messages=3)
        end(to_nsq)
    stats = engine.channel("nsq_to_nsq.copy")
    assert (stats["message_count"], stats["depth"]) == (1, 1)


def test_nsq_stat_reads_the_counts_of_a_channel(engine: Engine, tools: Path) -> None:
    engine.make_channel("nsq_stat")
    publish(engine, "nsq_stat", *LINES)
    engine.post("/pub?topic=nsq_stat&defer=3600000", b"later")
    engine.until("nsq_stat", lambda stats: stats["message_count"] == 4)
    printed = subprocess.run(
        [
            tools / "nsq_stat",
            "-topic=nsq_stat",
            f"-channel={CHANNEL}",
            f"-nsqd-http-address={engine.http_address}",
            "-interval=10ms",
            "-count=1",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    head, names, row = (line.replace("|", " ").split() for line in printed.splitlines())
    assert "metadata" in head[0]
    counts = dict(zip(names, map(int, row), strict=True))
    assert counts == {
        "ingress": 0,
        "egress": 0,
        "total": 3,
        "mem": 3,
        "disk": 0,
        "inflt": 0,
        "def": 1,
        "req": 0,
        "t-o": 0,
        "msgs": 4,
        "clients": 0,
    }

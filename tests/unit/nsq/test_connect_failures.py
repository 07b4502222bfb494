"""Connect failures: a few have a line each, and many share one."""

import pytest

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq import connect_failures as module
from nsqkit.nsq.connect_failures import ConnectFailures
from nsqkit.nsq.discovery import Source
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log at the next turn of the event loop what is collected."""
    monkeypatch.setattr(module, "_COLLECT_S", 0.0)


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def failures(log: RecordingLog) -> ConnectFailures:
    return ConnectFailures("stock", log)


def address(n: int) -> str:
    return f"10.0.0.{n}:4150"


def fail(failures: ConnectFailures, count: int, *, refused: bool = False) -> None:
    for n in range(count):
        error: NsqkitError = ConnectionLostError(address(n), "Connection refused")
        if refused:
            error = RefusedError(address(n), "E_UNAUTHORIZED", "no")
        failures.failed(Source(address(n), "orders"), error, 1.0)


@pytest.mark.parametrize(
    ("count", "named", "more"),
    [
        pytest.param(11, range(10, 11), {}, id="one"),
        pytest.param(15, range(10, 15), {}, id="as many as are named"),
        pytest.param(1000, range(10, 15), {"more": 985}, id="many"),
    ],
)
async def test_later_failures_share_a_line_after_a_while(
    failures: ConnectFailures, log: RecordingLog, *, count: int, named: range, more: dict[str, object]
) -> None:
    fail(failures, count)
    assert [fields["nsqd"] for fields in log.of("nsqd_unreachable")] == [address(n) for n in range(10)]
    await until(lambda: log.of("more_nsqd_failed"))
    error = "; ".join(f"nsqd {address(n)}: Connection refused" for n in named)
    assert log.of("more_nsqd_failed") == [{"channel": "stock", "error": error, **more}]
    fail(failures, count)
    failures.close()
    assert len(log.lines) == 11


async def test_refusals_have_lines_though_many_nsqd_cannot_be_reached(
    failures: ConnectFailures, log: RecordingLog
) -> None:
    fail(failures, 100)
    fail(failures, 100, refused=True)
    assert len(log.of("nsqd_refused")) == 10
    failures.close()
    (collected,) = log.of("more_nsqd_failed")
    assert collected["more"] == 175


async def test_the_next_minute_has_lines_again(
    failures: ConnectFailures, log: RecordingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(failures, 10)
    monkeypatch.setattr(module, "_LOG_AGAIN_S", 0.0)
    fail(failures, 1)
    failures.close()
    assert len(log.of("nsqd_unreachable")) == len(log.lines) == 11

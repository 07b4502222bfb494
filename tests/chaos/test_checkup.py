"""The checkup of a soak finds what is wrong, each sort of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import checkup
from tests.chaos.checkup import Record, WorkerRecord, broken, read_log
from tests.chaos.memory import MIB
from tests.chaos.troubles import Trouble
from tests.chaos.vitals import Vitals

WORKER = WorkerRecord(
    name="worker-1",
    code=None,
    answers={},
    died=(),
    stray_lines=(),
    lines=400,
    message_lines=1000,
    received=1000,
    second=Vitals(80 * MIB, 40),
    last=Vitals(90 * MIB, 50),
)
RECORD = Record(
    minutes=30.0,
    seed=1,
    troubles=[Trouble("nsqd restart", 1.0, 2.5)],
    findings=[],
    uncollected={"nsqd-a": 0},
    workers=[WORKER],
)


def test_where_all_is_well_nothing_is_found() -> None:
    assert list(broken(RECORD)) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param({"code": 1}, "it ended by itself, with 1", id="a worker that ended"),
        pytest.param({"answers": {"/readyz": "503"}}, "/readyz: 503", id="a worker that is not ready"),
        pytest.param(
            {"died": ["polls: E", "polls: E"]}, "a background task has died: polls: E", id="a dead task"
        ),
        pytest.param(
            {"stray_lines": ["Traceback", "x"]},
            "2 lines of its log are no JSON, first 'Traceback'",
            id="output past the log",
        ),
        pytest.param(
            {"lines": 9001}, "it wrote 9001 lines about no message, of at most 9000", id="a flood of lines"
        ),
        pytest.param(
            {"message_lines": 1001},
            "it wrote 1001 lines about 1000 deliveries",
            id="chatty",
        ),
        pytest.param(
            {"last": Vitals(91 * MIB, 50)},
            "its memory grew by 11.0 MiB from 80.0 MiB in the second fifth; at most 10 MiB are allowed",
            id="memory that grows",
        ),
        pytest.param(
            {"last": Vitals(90 * MIB, 51)}, "its file descriptors grew from 40 to 51", id="files that leak"
        ),
    ],
)
def test_each_fault_of_a_worker_is_found(change: dict[str, object], line: str) -> None:
    found = replace(RECORD, workers=[replace(WORKER, **change)])  # type: ignore[arg-type]
    assert list(broken(found)) == [f"worker-1: {line}"]


def test_a_short_soak_may_still_fill_the_heap() -> None:
    last = WORKER.second.resident_bytes + checkup.MAX_GROWTH_IN_SHORT_BYTES
    short = replace(RECORD, minutes=2.0, workers=[replace(WORKER, last=Vitals(last, 40))])
    assert list(broken(short)) == []
    more = replace(short, workers=[replace(WORKER, last=Vitals(last + MIB, 40))])
    assert len(list(broken(more))) == 1


def test_letters_that_cannot_be_collected_are_found() -> None:
    found = replace(RECORD, uncollected={"nsqd-a": 0, "nsqd-b": 2})
    assert list(broken(found)) == ["2 dead letters are left on nsqd-b after `nsqkit dead collect`"]


def test_what_a_fault_finds_at_once_is_a_finding() -> None:
    assert list(broken(replace(RECORD, findings=["the topic came back"]))) == ["the topic came back"]


def test_a_record_is_read_as_it_was_saved(tmp_path: Path) -> None:
    assert checkup.load(tmp_path) is None
    found = replace(RECORD, workers=[replace(WORKER, died=[], stray_lines=[])])
    found.save(tmp_path)
    assert checkup.load(tmp_path) == found


def test_lines_that_are_no_json_are_kept_apart() -> None:
    assert read_log(['{"event": "a"}', "Traceback", "7"]) == ([{"event": "a"}], ["Traceback", "7"])

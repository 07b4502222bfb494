"""Cells: a reader sees what a writer wrote last, also if it was killed; counts stay, gauges do not."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nsqkit.telemetry.metrics import cells as module
from nsqkit.telemetry.metrics.cells import CellReader, CellWriter, Group
from nsqkit.telemetry.metrics.families import FAMILIES
from nsqkit.telemetry.metrics.histogram import Histogram
from nsqkit.telemetry.metrics.snapshot import Exemplar, HistogramSnapshot, Series, Snapshot

RESERVE, NOTIFY = ("orders", "inventory", "Reserve"), ("orders", "notify", "Notify")
RECEIVED = "nsqkit_messages_received_total"
IN_FLIGHT = "nsqkit_in_flight"
DURATION = "nsqkit_handler_duration_seconds"
SKEW = "nsqkit_clock_skew_seconds"


def numbers(**families: Any) -> Snapshot:
    """Return a snapshot of families, by the last part of their names, each a mapping of labels to points."""
    named = {next(each for each in FAMILIES if name in each): series for name, series in families.items()}
    return Snapshot({name: Series(tuple(series), tuple(series.values())) for name, series in named.items()})


def durations(*values_s: float, exemplar: Exemplar | None = None) -> HistogramSnapshot:
    histogram = Histogram(FAMILIES[DURATION].buckets)
    for value_s in values_s:
        histogram.observe(value_s)
    if exemplar is not None:
        histogram.exemplar(exemplar)
    return histogram.snapshot()


@pytest.fixture
def reader() -> Iterator[CellReader]:
    made = CellReader()
    yield made
    made.close()


@pytest.fixture
def writer(reader: CellReader) -> CellWriter:
    return CellWriter(reader.descriptor)


def shared(writer: CellWriter, reader: CellReader, snapshot: Snapshot) -> Snapshot:
    """Write, pass new places on as over the link, and read."""
    reader.extend(json.loads(json.dumps(writer.write(snapshot))))
    return reader.snapshot()


@pytest.mark.parametrize(
    "snapshot",
    [
        pytest.param(numbers(messages_received={RESERVE: 3, NOTIFY: 2**40}), id="counters"),
        pytest.param(numbers(in_flight={RESERVE: 0}, messages_received={}), id="a family without series"),
        pytest.param(numbers(clock_skew={("a:1",): -1.5, ("b:2",): 0.25}), id="negative seconds"),
        pytest.param(numbers(process_start_time={(): 1_790_000_000.5}), id="a time since 1970"),
        pytest.param(
            numbers(handler_duration={RESERVE: durations(0.001, 0.5, 900.0), NOTIFY: durations()}),
            id="histograms, one without a value",
        ),
        pytest.param(
            numbers(
                handler_duration={RESERVE: durations(2.0, exemplar=Exemplar("f" * 8 + "0" * 24, 2.0, 99.5))}
            ),
            id="an exemplar",
        ),
    ],
)
def test_what_is_written_is_read(writer: CellWriter, reader: CellReader, snapshot: Snapshot) -> None:
    found = shared(writer, reader, snapshot)
    assert found == Snapshot({name: each for name, each in snapshot.families.items() if each.labels})


def test_later_numbers_need_no_message(writer: CellWriter, reader: CellReader) -> None:
    shared(writer, reader, numbers(messages_received={RESERVE: 1, NOTIFY: 2}))
    assert writer.write(numbers(messages_received={RESERVE: 5, NOTIFY: 6})) == []
    assert reader.snapshot().of(RECEIVED) == {RESERVE: 5, NOTIFY: 6}
    place = writer.place(RECEIVED, NOTIFY)
    assert place is not None
    writer.cells[place] = 7
    assert reader.snapshot().of(RECEIVED) == {RESERVE: 5, NOTIFY: 7}
    assert writer.place(RECEIVED, ("unknown",)) is None


def test_new_series_are_only_those(writer: CellWriter, reader: CellReader) -> None:
    shared(writer, reader, numbers(clock_skew={("a:1",): 1.0}))
    snapshot = numbers(clock_skew={("b:2",): 2.0, ("a:1",): 3.0})
    (group,) = writer.write(snapshot)
    assert (group.family, group.labels) == (SKEW, (("b:2",),))
    reader.extend([group])
    assert reader.snapshot().of(SKEW) == {("a:1",): 3.0, ("b:2",): 2.0}


def test_series_that_are_gone_are_not_shown_until_they_are_back(
    writer: CellWriter, reader: CellReader
) -> None:
    shared(writer, reader, numbers(clock_skew={("a:1",): 1.0, ("b:2",): 2.0}))
    assert shared(writer, reader, numbers(clock_skew={("b:2",): 2.0})).of(SKEW) == {("b:2",): 2.0}
    assert shared(writer, reader, numbers(clock_skew={})).of(SKEW) == {}
    assert shared(writer, reader, numbers(clock_skew={("a:1",): 4.0})).of(SKEW) == {("a:1",): 4.0}


def test_a_histogram_that_is_gone_is_not_shown(writer: CellWriter, reader: CellReader) -> None:
    shared(writer, reader, numbers(handler_duration={RESERVE: durations(1.0)}))
    assert shared(writer, reader, numbers(handler_duration={})).of(DURATION) == {}


def test_a_newer_exemplar_replaces_the_one_of_its_bucket(writer: CellWriter, reader: CellReader) -> None:
    for at_s in (1.0, 2.0):
        newest = Exemplar("0" * 31 + "1", 0.5, at_s)
        snapshot = numbers(handler_duration={RESERVE: durations(0.5, exemplar=newest)})
        assert list(shared(writer, reader, snapshot).of(DURATION)[RESERVE].exemplars.values()) == [newest]


def test_more_series_than_there_is_room_for_are_left_out(
    writer: CellWriter, reader: CellReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CELLS", 2)
    handlers = {("t", "c", str(number)): number for number in range(4)}
    for _ in range(2):
        found = shared(writer, reader, numbers(messages_received=handlers))
        assert list(found.of(RECEIVED).values()) == [0, 1]


def test_a_number_beyond_64_bits_is_the_largest(writer: CellWriter, reader: CellReader) -> None:
    found = shared(writer, reader, numbers(process_max_fds={(): math.inf}, clock_skew={("a:1",): 1e300}))
    assert found.of("nsqkit_process_max_fds") == {(): 2**63 - 1}
    assert found.of(SKEW)["a:1",] > 9e9


class TestClose:
    """The process has ended."""

    def test_its_counts_stay_and_its_gauges_are_0(self, writer: CellWriter, reader: CellReader) -> None:
        histogram = durations(1.0)
        shared(
            writer,
            reader,
            numbers(
                messages_received={RESERVE: 3},
                in_flight={RESERVE: 2},
                handler_duration={RESERVE: histogram},
                clock_skew={("a:1",): 1.0},
            ),
        )
        for _ in range(2):
            reader.close()
            last = reader.snapshot()
            assert last.of(RECEIVED) == {RESERVE: 3}
            assert last.of(IN_FLIGHT) == {RESERVE: 0}
            assert last.of(DURATION) == {RESERVE: histogram}
            assert last.of(SKEW) == {}, "another process may know it; this one does not"

    def test_one_that_never_wrote_has_no_numbers(self, reader: CellReader) -> None:
        assert reader.snapshot() == Snapshot({})
        reader.close()
        assert reader.snapshot() == Snapshot({})

    def test_one_that_was_killed_had_counted_before(self, reader: CellReader) -> None:
        lines = (
            "import os, sys",
            "from nsqkit.telemetry.metrics.shared import SharedMetrics",
            "metrics = SharedMetrics(int(sys.argv[1]))",
            "handler = metrics.for_handler(*'tch')",
            "import json; print(json.dumps(metrics.share()), flush=True)",
            "handler.received(7)",
            "os.kill(os.getpid(), 9)",
        )
        child = subprocess.run(
            [sys.executable, "-c", "\n".join(lines), str(reader.descriptor)],
            pass_fds=[reader.descriptor],
            stdout=subprocess.PIPE,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL
        reader.extend(json.loads(child.stdout))
        reader.close()
        assert reader.snapshot().of(RECEIVED) == {("t", "c", "h"): 7}


class TestExtend:
    """What the writing process says of its memory."""

    def test_a_family_of_another_version_is_left_out(self, writer: CellWriter, reader: CellReader) -> None:
        groups = writer.write(numbers(messages_received={RESERVE: 3}))
        reader.extend([*groups, Group("nsqkit_unknown", 0, (RESERVE,))])
        assert list(reader.snapshot().families) == [RECEIVED]

    @pytest.mark.parametrize("start", [-1, 2**40])
    def test_cells_that_are_not_there_are_refused(
        self, writer: CellWriter, reader: CellReader, start: int
    ) -> None:
        writer.write(numbers(messages_received={RESERVE: 3}))
        with pytest.raises(ValueError, match="not in the memory"):
            reader.extend([Group(RECEIVED, start, (RESERVE,))])


@pytest.mark.parametrize("has_memfd", [True, False], ids=["on Linux", "elsewhere"])
def test_the_memory_has_no_name_and_grows_with_its_series(
    monkeypatch: pytest.MonkeyPatch,
    has_memfd: bool,  # noqa: FBT001
) -> None:
    if not has_memfd:
        monkeypatch.delattr(os, "memfd_create")
    reader = CellReader()
    writer = CellWriter(reader.descriptor)
    assert os.fstat(reader.descriptor).st_nlink == 0
    shared(writer, reader, numbers(messages_received={RESERVE: 1}))
    before = os.fstat(reader.descriptor).st_size
    many = {("t", "c", str(number)): number for number in range(20_000)}
    assert shared(writer, reader, numbers(messages_received={RESERVE: 1, **many})).of(RECEIVED)[RESERVE] == 1
    assert os.fstat(reader.descriptor).st_size > before
    reader.close()


def test_programs_that_a_handler_starts_do_not_get_the_memory(reader: CellReader) -> None:
    os.set_inheritable(reader.descriptor, True)  # as in a process that was given it
    CellWriter(reader.descriptor)
    assert not os.get_inheritable(reader.descriptor)

"""History: the last 15 minutes of all handlers and of the process, by the second."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nsqkit.monitor.ring import SECONDS, Ring
from nsqkit.monitor.track import Track, highest_bucket
from nsqkit.telemetry.metrics import Labels, Metrics
from nsqkit.telemetry.metrics.process import process_figures

MOST_MARKS: Final = 100
_PERMILLE: Final = 1000
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that may explain a change.

    Args:
        second: The second of the history.
        kind: ``start``, ``paused``, ``resumed``, or the state of the intake.
        text: The event in words.
        handler: The handler that it is about; empty for all.
    """

    second: int
    kind: str
    text: str
    handler: str = ""


class History:
    """Keeps counts of the last 15 minutes in a fixed amount of memory.

    Args:
        metrics: The metrics of the process.
        reason_of: Returns why the intake of a handler is paused, in words, by the handler's name.

    Attributes:
        second: The last second that was sampled; None before the first.
        first: The first second.
        tracks: The track of each handler, by its labels.
        lags: The highest bucket of the event loop's lag in each second, from 1.
        waits: The highest bucket of the waits for a thread in each second, from 1.
        cpu: CPU time in thousandths of one core in each second.
        memory: Resident memory in MiB in each second.
        marks: The last marks, the oldest first.
    """

    def __init__(self, metrics: Metrics, reason_of: Callable[[str], str]) -> None:
        self._metrics = metrics
        self._reason_of = reason_of
        self._cpu_s = 0.0
        self._lag_counts = metrics.loop_lags()
        self.second: int | None = None
        self.first = 0
        self.tracks: dict[Labels, Track] = {}
        self.lags, self.waits, self.cpu, self.memory = Ring(), Ring(), Ring(), Ring()
        self.marks: list[Mark] = []

    def sample(self, second: int) -> None:
        """Keep the present counts; a second that was sampled already is left as it is.

        Args:
            second: The present second, on a clock that never goes backwards.
        """
        if self.second is None:
            self._begin(second)
        elif second > self.second:
            for skipped in range(max(self.second + 1, second - SECONDS), second):
                self._skip(skipped)
            self._put(second)
        else:
            return
        self.second = second

    def _begin(self, second: int) -> None:
        self.first = second
        self.tracks = {counts.labels: Track(counts) for counts in self._metrics.counts()}
        self._put_process(second)
        self.cpu.put(second, 0)
        self._mark(Mark(second, "start", "worker started"))

    def _put(self, second: int) -> None:
        for counts in self._metrics.counts():
            track = self.tracks.get(counts.labels)
            if track is None:
                track = self.tracks[counts.labels] = Track(counts)
            if counts.is_paused != track.counts.is_paused:
                self._mark_pause(second, counts.labels[-1], is_paused=counts.is_paused)
            track.put(second, counts)
        self.waits.put(second, max((track.wait for track in self.tracks.values()), default=0))
        self._put_process(second)

    def _put_process(self, second: int) -> None:
        figures = {name: value for name, _, value in process_figures()}
        cpu_s = figures.get("nsqkit_process_cpu_seconds_total", 0.0)
        passed_s = second - self.second if self.second is not None else 1
        self.cpu.put(second, max(0, round((cpu_s - self._cpu_s) / passed_s * _PERMILLE)))
        self._cpu_s = cpu_s
        self.memory.put(second, round(figures.get("nsqkit_process_resident_memory_bytes", 0.0) / _MIB))
        old, self._lag_counts = self._lag_counts, self._metrics.loop_lags()
        self.lags.put(second, highest_bucket(old, self._lag_counts))

    def _skip(self, second: int) -> None:
        for track in self.tracks.values():
            track.skip(second)
        for ring in (self.lags, self.waits, self.cpu, self.memory):
            ring.put(second, 0)

    def _mark_pause(self, second: int, handler: str, *, is_paused: bool) -> None:
        if is_paused:
            reason = self._reason_of(handler)
            self._mark(Mark(second, reason or "paused", f"{handler}: {reason or 'paused'}", handler))
        else:
            self._mark(Mark(second, "resumed", f"{handler} takes in messages again", handler))

    def _mark(self, mark: Mark) -> None:
        self.marks.append(mark)
        oldest = mark.second - SECONDS
        self.marks = [each for each in self.marks[-MOST_MARKS:] if each.second > oldest]

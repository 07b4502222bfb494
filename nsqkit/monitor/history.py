"""History: the last 15 minutes of all handlers and of their processes, by the second."""

from collections.abc import Callable, Hashable
from typing import Final

from nsqkit.admin import IntakeState
from nsqkit.monitor.marks import Mark, MarkKind, Marks
from nsqkit.monitor.ring import SECONDS, Ring
from nsqkit.monitor.track import Track, highest_bucket
from nsqkit.telemetry.metrics import Labels, Metrics, Vitals

_PERMILLE: Final = 1000
_MIB: Final = 1 << 20


class History:
    """Keeps counts of the last 15 minutes in a fixed amount of memory.

    Of several processes, the worst figure of each second is kept.

    Args:
        metrics: The metrics of the process, or of its children.
        reason_of: Returns why the intake of a handler is paused, by its name; None if that is not known.

    Attributes:
        second: The last second that was sampled; None before the first.
        first: The first second.
        tracks: The track of each handler, by its labels.
        lags: The highest bucket of the event loop's lag in each second, from 1.
        waits: The highest bucket of the waits for a thread in each second, from 1.
        cpu: CPU time in thousandths of one core in each second.
        memory: Resident memory in MiB in each second.
        marks: The moments that may explain a change.
    """

    def __init__(self, metrics: Metrics, reason_of: Callable[[str], IntakeState | None]) -> None:
        self._metrics = metrics
        self._vitals: dict[Hashable, Vitals] = {}
        self.second: int | None = None
        self.first = 0
        self.tracks: dict[Labels, Track] = {}
        self.lags, self.waits, self.cpu, self.memory = Ring(), Ring(), Ring(), Ring()
        self.marks = Marks(reason_of)

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
        self._put_vitals(second)
        self.marks.add(Mark(second, MarkKind.START, "worker started"))

    def _put(self, second: int) -> None:
        self._put_vitals(second)
        for counts in self._metrics.counts():
            track = self.tracks.get(counts.labels)
            if track is None:
                track = self.tracks[counts.labels] = Track(counts)
            before = track.counts
            if (counts.is_paused, counts.is_switched_off) != (before.is_paused, before.is_switched_off):
                self.marks.take_handler(second, before, counts)
            track.put(second, counts)
        self.waits.put(second, max((track.wait for track in self.tracks.values()), default=0))

    def _put_vitals(self, second: int) -> None:
        old, self._vitals = self._vitals, {each.process: each for each in self._metrics.vitals()}
        pairs = [(old[process], new) for process, new in self._vitals.items() if process in old]
        passed_s = second - self.second if self.second is not None else 1
        cpu_s = max((new.cpu_s - before.cpu_s for before, new in pairs), default=0.0)
        self.cpu.put(second, max(0, round(cpu_s / passed_s * _PERMILLE)))
        self.lags.put(
            second, max((highest_bucket(before.lags, new.lags) for before, new in pairs), default=0)
        )
        largest = max((each.memory_bytes for each in self._vitals.values()), default=0.0)
        self.memory.put(second, round(largest / _MIB))
        self.marks.take_breakers(
            second, frozenset(name for each in self._vitals.values() for name in each.open_breakers)
        )

    def _skip(self, second: int) -> None:
        for track in self.tracks.values():
            track.skip(second)
        for ring in (self.lags, self.waits, self.cpu, self.memory):
            ring.put(second, 0)

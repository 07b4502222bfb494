"""View: the JSON that the page shows, made from the history. Ages and durations are seconds."""

import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from nsqkit.admin.handlers import HandlerState, IntakeState
from nsqkit.monitor.failures import Failures, Group
from nsqkit.monitor.history import History
from nsqkit.monitor.ring import SECONDS, STEP_S, STEPS
from nsqkit.monitor.track import MINUTE_S, Track
from nsqkit.policy.change_point import change_point
from nsqkit.policy.diagnosis import Diagnosis, ErrorGroup, Finding, diagnose
from nsqkit.policy.requeue_level import MIN_DELIVERIES, Level, level_of, threshold
from nsqkit.policy.saturation import Saturation, passed_for_s
from nsqkit.telemetry.metrics import WAIT_BUCKETS_S, Labels, Snapshot
from nsqkit.version import __version__

NOW_S: Final = 10
"""Seconds that count as now."""
FIVE_MINUTES_S: Final = 300
_ABOVE_ALL_S: Final = 20.0  # for values above all buckets, which have no upper bound
_DIGITS: Final = 4

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure of the process and its limit.

    Args:
        key: Its name in JSON.
        label: Its name in words.
        unit: The unit of the figure.
        limit: The highest value that is not above it; None if there is none.
        values: The figure of each second, the oldest first; 1 to 900.
        is_bound: Whether the figures are upper bounds.
    """

    key: str
    label: str
    unit: str
    limit: float | None
    values: list[float]
    is_bound: bool = False

    @property
    def recent(self) -> float:
        """The median of the last 10 seconds."""
        return median(self.values[-NOW_S:] or [0.0])

    @property
    def saturation(self) -> Saturation | None:
        """For how long the limit has been passed; None if it is not."""
        for_s = 0 if self.limit is None else passed_for_s(self.values, self.limit)
        text = f"{self.label} {self.recent:.0f} {self.unit}, limit {self.limit or 0.0:.0f}"
        return Saturation(text, for_s) if for_s else None

    def shown(self, second: int) -> Json:
        """Return it as JSON, with the highest value of each step of 10 seconds.

        Args:
            second: The second of the last value.
        """
        newest = second % STEP_S + 1
        ends = range(len(self.values) - newest, 0, -STEP_S)
        steps = [self.values[-newest:], *(self.values[max(0, end - STEP_S) : end] for end in ends)]
        series: list[float | None] = [round(max(step), 1) if step else None for step in reversed(steps)]
        return {
            "key": self.key,
            "label": self.label,
            "unit": self.unit,
            "value": round(self.recent, 1),
            "peak": round(max(self.values[-NOW_S:], default=0.0), 1),
            "is_bound": self.is_bound,
            "limit": self.limit,
            "level": Level.OK if self.saturation is None else Level.WARN,
            "series": ([None] * STEPS + series)[-STEPS:],
        }


class View:
    """Shows a history as JSON.

    Args:
        history: The history.
        failures: The failures of each handler, by its labels.
        service: Name of the service.
    """

    def __init__(self, history: History, failures: Mapping[Labels, Failures], service: str) -> None:
        self._history = history
        self._failures = failures
        self._service = service

    def state(self, states: tuple[HandlerState, ...], snapshot: Snapshot, at_s: float) -> Json:
        """Return the whole first screen.

        Args:
            states: The present states of the handlers.
            snapshot: The present metrics, for the figures of nsqd.
            at_s: The present time, seconds since 1970 UTC.
        """
        second = self._history.second or 0
        limits = self._limits(second)
        rows, findings = [], []
        for state in states:
            labels = (state.topic, state.channel, state.name)
            track = self._history.tracks.get(labels)
            if track is not None:
                finding = self._finding(state, labels, track, at_s)
                findings.append(finding)
                rows.append(self._row(state, track, finding) | _nsqd_sums(snapshot, labels))
        up_s = second - self._history.first
        diagnosis = diagnose(
            findings, up_s=up_s, saturated=[*filter(None, (each.saturation for each in limits))]
        )
        return {
            "at": round(at_s, 1),
            "second": second,
            "service": {
                "name": self._service,
                "host": platform.node(),
                "pid": os.getpid(),
                "nsqkit": __version__,
                "up_s": up_s,
            },
            "verdict": _verdict(diagnosis),
            "handlers": rows,
            "saturation": [each.shown(second) for each in limits],
            "nsqd": _nsqds(snapshot),
            "marks": [
                {
                    "step": self._step(mark.second),
                    "at": round(at_s - second + mark.second),
                    "kind": mark.kind,
                    "text": mark.text,
                    "handler": mark.handler,
                }
                for mark in self._history.marks
                if self._step(mark.second) >= 0
            ],
        }

    def errors(self, name: str, at_s: float) -> list[Json] | None:
        """Return the errors of a handler with examples, the most frequent first; None if it is not known."""
        second = self._history.second or 0
        labels = next((each for each in self._history.tracks if each[-1] == name), None)
        if labels is None:
            return None
        now_at = at_s - second
        return [_errors(group, second, now_at) for group in self._groups(labels, second, SECONDS - 1)]

    def _groups(self, labels: Labels, second: int, seconds: int) -> list[Group]:
        failures = self._failures.get(labels)
        groups = [each for each in failures.groups if each.count(second, seconds)] if failures else []
        return sorted(groups, key=lambda group: -group.count(second, seconds))

    def _errors_of(self, labels: Labels, second: int, seconds: int) -> tuple[ErrorGroup, ...]:
        return tuple(
            ErrorGroup(each.error_type, each.place, each.count(second, seconds))
            for each in self._groups(labels, second, seconds)
        )

    def _finding(self, state: HandlerState, labels: Labels, track: Track, at_s: float) -> Finding:
        second = self._history.second or 0
        minute = track.share(second, MINUTE_S)
        shares = track.shares(second)
        before = shares[: STEPS - FIVE_MINUTES_S // STEP_S]
        failed, received = (sum(column) for column in zip(*before, strict=True))
        baseline = failed / received if received >= MIN_DELIVERIES else None
        level = level_of(minute, baseline, is_paused=state.state in _SHUT)
        since_ago_s = None
        index = change_point(shares, threshold(baseline)) if level is Level.BAD else None
        if index:  # the first step of the data says only: before
            since_ago_s = float((STEPS - 1 - index) * STEP_S + second % STEP_S)
        return Finding(
            state.name,
            level,
            minute,
            since_ago_s,
            "" if since_ago_s is None else _clock(at_s - since_ago_s),
            self._errors_of(labels, second, FIVE_MINUTES_S),
            _SHUT.get(state.state, ""),
        )

    def _row(self, state: HandlerState, track: Track, finding: Finding) -> Json:
        second = self._history.second or 0
        timeouts = sum(track.timeouts.last(second, MINUTE_S))
        failed = finding.minute.failed
        recent = self._errors_of((state.topic, state.channel, state.name), second, MINUTE_S)
        others = sum(track.requeued.last(second, MINUTE_S)) - failed
        return {
            "name": state.name,
            "topic": state.topic,
            "channel": state.channel,
            "level": finding.level,
            "state": state.state,
            "remaining_s": None if state.remaining_s is None else round(state.remaining_s),
            "problems": list(state.problems[:3]),
            "now": _ratio(track.share(second, NOW_S).ratio),
            "m1": _ratio(finding.minute.ratio),
            "m5": _ratio(track.share(second, FIVE_MINUTES_S).ratio),
            "failed": failed,
            "received": finding.minute.received,
            "errors": failed - timeouts,
            "timeouts": timeouts,
            "others": others,
            "top": [[each.label, each.count] for each in recent[:2]],
            "since": finding.since,
            "since_step": None
            if finding.since_ago_s is None
            else self._step(second - int(finding.since_ago_s)),
            "series": [_ratio(share.ratio) for share in track.shares(second)],
            "paused": [index for index, step in enumerate(track.paused.steps(second)) if any(step)],
            "throughput": round(sum(track.received.last(second, NOW_S)) / NOW_S, 1),
            "oldest_s": _finite(track.oldest_s(second, NOW_S)),
            "in_flight": state.held,
            "max_in_flight": state.max_in_flight,
            "dead": sum(track.dead_lettered.last(second, SECONDS)),
            "dead_m1": sum(track.dead_lettered.last(second, MINUTE_S)),
        }

    def _limits(self, second: int) -> list[Limit]:
        """Return the figures of the process, each in its unit."""
        history, seconds = self._history, min(second - self._history.first + 1, SECONDS)
        tracks = [track.waits.last(second, seconds) for track in history.tracks.values()]
        waits = [max(column) for column in zip(*tracks, strict=True)]
        lags = history.lags.last(second, seconds)
        return [
            Limit("lag", "Event-loop lag", "ms", 100.0, [_ms(bucket) for bucket in lags], is_bound=True),
            Limit("wait", "Wait for a thread", "ms", 500.0, [_ms(each) for each in waits], is_bound=True),
            Limit("cpu", "CPU", "%", 90.0, [each / 10 for each in history.cpu.last(second, seconds)]),
            Limit("memory", "Memory", "MiB", None, [*map(float, history.memory.last(second, seconds))]),
        ]

    def _step(self, second: int) -> int:
        """Return the step of the series in which a second is, 0 to 89; below 0 if it is before."""
        return STEPS - 1 - ((self._history.second or 0) // STEP_S - second // STEP_S)


_SHUT: Final = {
    IntakeState.PAUSED: "its intake is paused",
    IntakeState.KILL_SWITCH_OPEN: "kill switch open",
    IntakeState.BREAKER_OPEN: "breaker open",
    IntakeState.BLOCKED: "blocked: nsqd refuses its dead letters",
    IntakeState.HALF_OPEN: "half-open: one message is tried at a time",
}


def reason_of(states: tuple[HandlerState, ...], name: str) -> str:
    """Return why the intake of a handler is paused, in words; empty if it is not."""
    return next((_SHUT.get(each.state, "") for each in states if each.name == name), "")


def _verdict(found: Diagnosis) -> Json:
    return {
        "key": found.key,
        "level": found.level,
        "word": found.word,
        "line": found.line,
        "cause": found.cause,
        "evidence": list(found.evidence),
        "handler": found.handler,
    }


def _errors(group: Group, second: int, zero_at_s: float) -> Json:
    return {
        "type": group.error_type,
        "place": group.place,
        "count": group.count(second, SECONDS - 1),
        "count_m1": group.count(second, MINUTE_S),
        "first": group.first + zero_at_s,
        "last": group.last + zero_at_s,
        "examples": [
            {
                "at": each.second + zero_at_s,
                "message_id": each.message_id,
                "attempts": each.attempts,
                "max_attempts": each.max_attempts,
                "outcome": each.outcome,
                "text": each.text,
                "stack": each.stack,
            }
            for each in reversed(group.examples)
        ],
    }


def _nsqd_sums(snapshot: Snapshot, labels: Labels) -> Json:
    """Return depth and deferred messages of a handler's channel over all nsqd; None if no nsqd told them."""
    sums: Json = {}
    for key, family in (("depth", "nsqkit_channel_depth"), ("deferred", "nsqkit_channel_deferred")):
        found = [value for each, value in snapshot.of(family).items() if each[:3] == labels]
        sums[key] = sum(found) if found else None
    return sums


def _nsqds(snapshot: Snapshot) -> list[Json]:
    """Return the figures of each nsqd, summed over the handlers' channels."""
    found: dict[str, Json] = {}
    for (*_, nsqd, state), value in snapshot.of("nsqkit_connection_state").items():
        row = found.setdefault(nsqd, {"address": nsqd, "states": {}})
        if value:
            row["states"][state] = row["states"].get(state, 0) + 1
    for key in ("rdy", "channel_depth", "channel_deferred", "channel_in_flight", "channel_paused"):
        for (*_, nsqd), value in snapshot.of(f"nsqkit_{key}").items():
            row = found.setdefault(nsqd, {"address": nsqd, "states": {}})
            row[key.removeprefix("channel_")] = row.get(key.removeprefix("channel_"), 0) + value
    return [found[address] for address in sorted(found)]


def _ms(bucket: int) -> float:
    """Return the upper bound of a bucket of waits in milliseconds; 0 for none."""
    if not bucket:
        return 0.0
    return 1000 * (WAIT_BUCKETS_S[bucket - 1] if bucket <= len(WAIT_BUCKETS_S) else _ABOVE_ALL_S)


def _finite(seconds: float | None) -> float | None:
    """Return an age as JSON can hold it: -1 for one above all buckets."""
    return -1 if seconds is not None and math.isinf(seconds) else seconds


def _ratio(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, _DIGITS)


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M", time.gmtime(at_s))

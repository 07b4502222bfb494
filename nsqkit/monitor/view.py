"""View: the JSON that the page shows, made from the history. Ages and durations are seconds."""

import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from nsqkit.admin.handlers import HandlerState, IntakeState
from nsqkit.monitor.failures import Failures, Group
from nsqkit.monitor.history import History
from nsqkit.monitor.limit import Limit
from nsqkit.monitor.nsqd import Nsqd
from nsqkit.monitor.ring import SECONDS, STEP_S, STEPS
from nsqkit.monitor.track import MINUTE_S, Track
from nsqkit.policy.change_point import change_point
from nsqkit.policy.diagnosis import Diagnosis, ErrorGroup, Finding, diagnose
from nsqkit.policy.requeue_level import MIN_DELIVERIES, Level, level_of, threshold
from nsqkit.telemetry.metrics import WAIT_BUCKETS_S, Figure, Labels
from nsqkit.version import __version__

NOW_S: Final = 10
"""Seconds that count as now."""
FIVE_MINUTES_S: Final = 300
_ABOVE_ALL_S: Final = 20.0  # for values above all buckets, which have no upper bound
_DIGITS: Final = 4

Json = dict[str, Any]


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

    def state(self, states: tuple[HandlerState, ...], figures: Iterable[Figure], at_s: float) -> Json:
        """Return the whole first screen.

        Args:
            states: The present states of the handlers.
            figures: The present metrics that handlers do not count themselves.
            at_s: The present time, seconds since 1970 UTC.
        """
        second = self._history.second or 0
        limits = self._limits(second)
        nsqd = Nsqd(figures)
        rows, findings = [], []
        for state in states:
            labels = (state.topic, state.channel, state.name)
            track = self._history.tracks.get(labels)
            if track is not None:
                finding = self._finding(state, labels, track, at_s)
                findings.append(finding)
                rows.append(self._row(state, track, finding) | nsqd.of_handler(labels))
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
            "nsqd": nsqd.rows,
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
        baseline = track.baseline(second, MIN_DELIVERIES)
        level = level_of(minute, baseline, is_paused=state.state in _SHUT)
        since_ago_s = None
        index = change_point(track.shares(second), threshold(baseline)) if level is Level.BAD else None
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
            "paused": [index for index, seconds in enumerate(track.paused.totals(second)) if seconds],
            "throughput": round(sum(track.received.last(second, NOW_S)) / NOW_S, 1),
            "oldest_s": _finite(track.oldest_s(second, NOW_S)),
            "in_flight": state.held,
            "max_in_flight": state.max_in_flight,
            "dead": sum(track.dead_lettered.totals(second)),
            "dead_m1": sum(track.dead_lettered.last(second, MINUTE_S)),
        }

    def _limits(self, second: int) -> list[Limit]:
        """Return the figures of the process, each in its unit."""
        history, seconds = self._history, min(second - self._history.first + 1, SECONDS)
        waits = history.waits.last(second, seconds)
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

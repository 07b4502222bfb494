"""Row: what the page shows of one handler, over all workers. Ages and durations are seconds."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.monitor.failure_log import FIVE_MINUTES_S
from nsqkit.monitor.look import Json, RecentErrors
from nsqkit.monitor.ring import STEP_S, STEPS
from nsqkit.monitor.track import MINUTE_S, Track
from nsqkit.policy.change_point import change_point
from nsqkit.policy.diagnosis import Finding
from nsqkit.policy.redaction import redact
from nsqkit.policy.requeue_level import MIN_DELIVERIES, Level, level_of, threshold
from nsqkit.policy.saturation import Saturation

NOW_S: Final = 10
"""Seconds that count as now."""
_DIGITS: Final = 4
_MOST_PROBLEMS: Final = 3
_SHUT: Final = {
    IntakeState.BLOCKED: "blocked until a person corrects the cause",
    IntakeState.PAUSED: "its intake is paused",
    IntakeState.KILL_SWITCH_OPEN: "kill switch open",
    IntakeState.BREAKER_OPEN: "breaker open",
    IntakeState.HALF_OPEN: "half-open: one message is tried at a time",
}
_LOUDEST_FIRST: Final = (*_SHUT, IntakeState.RATE_LIMITED, IntakeState.RUNNING)


class Row:
    """One handler at one second.

    Args:
        states: Its state in each worker; one or more.
        track: Its history.
        errors: Its recent errors.
        depth: Its messages that wait in nsqd; None if that is not known.
        second: The second of the history.
        at_s: The present time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        states: Sequence[HandlerState],
        track: Track,
        errors: Sequence[RecentErrors],
        *,
        depth: int | None,
        second: int,
        at_s: float,
    ) -> None:
        self._state, self._in_workers = joined(states)
        self._track = track
        self._errors = errors
        self._second = second
        self.finding = self._found(at_s, self._saturation(depth))

    def _saturation(self, depth: int | None) -> Saturation | None:
        """Return how the handler is at its limit; a pause or a rate limit would be another reason to wait."""
        track, state = self._track, self._state
        track.intake = track.intake.looked(
            self._second, in_flight=state.held, max_in_flight=state.max_in_flight, depth=depth
        )
        if state.state is not IntakeState.RUNNING:
            return None
        return track.intake.saturation(state.name, is_age_growing=track.is_age_growing(self._second))

    def _found(self, at_s: float, saturation: Saturation | None) -> Finding:
        """Return what the rules read."""
        second, state, track = self._second, self._state, self._track
        minute = track.share(second, MINUTE_S)
        baseline = track.baseline(second, MIN_DELIVERIES)
        shut = _SHUT.get(state.state, "")
        if shut and self._in_workers:
            shut += f" in {_workers(self._in_workers)}"
        level = level_of(minute, baseline, is_paused=bool(shut) and not self._in_workers)
        since_ago_s = None
        index = change_point(track.shares(second), threshold(baseline)) if level is Level.BAD else None
        if index:  # the first step of the data says only: before
            since_ago_s = float((STEPS - 1 - index) * STEP_S + second % STEP_S)
        since = "" if since_ago_s is None else _clock(at_s - since_ago_s)
        groups = tuple(each.five_minutes for each in self._errors)
        return Finding(state.name, level, minute, since_ago_s, since, groups, shut, saturation)

    def shown(self) -> Json:
        """Return it as JSON."""
        second, state, track, finding = self._second, self._state, self._track, self.finding
        timeouts = sum(track.timeouts.last(second, MINUTE_S))
        failed = finding.minute.failed
        recent = sorted((each.minute for each in self._errors if each.m1), key=lambda group: -group.count)
        others = sum(track.requeued.last(second, MINUTE_S)) - failed
        ago_s = finding.since_ago_s
        full = finding.saturation
        is_only_full = full is not None and finding.level in {Level.OK, Level.UNKNOWN}
        return {
            "name": state.name,
            "topic": state.topic,
            "channel": state.channel,
            "level": Level.WARN if is_only_full else finding.level,
            "saturated": "" if full is None else full.text,
            "state": state.state,
            "in_workers": list(self._in_workers),
            "remaining_s": None if state.remaining_s is None else round(state.remaining_s),
            "problems": [*map(redact, state.problems[:_MOST_PROBLEMS])],
            "lag": state.lag,
            "last_error": redact(state.last_error),
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
            "since_step": None if ago_s is None else step_of(second - int(ago_s), second),
            "series": [_ratio(share.ratio) for share in track.shares(second)],
            "paused": [index for index, seconds in enumerate(track.paused.totals(second)) if seconds],
            "throughput": round(sum(track.received.last(second, NOW_S)) / NOW_S, 1),
            "oldest_s": _finite(track.oldest_s(second, NOW_S)),
            "in_flight": state.held,
            "max_in_flight": state.max_in_flight,
            "dead": sum(track.dead_lettered.totals(second)),
            "dead_m1": sum(track.dead_lettered.last(second, MINUTE_S)),
        }


def joined(states: Sequence[HandlerState]) -> tuple[HandlerState, tuple[int, ...]]:
    """Return the state of a handler over several workers, and the numbers of the workers that it is about.

    The state that needs attention most is shown. There are no numbers if all workers are in that state.

    Args:
        states: The state in each worker; one or more.
    """
    if len(states) == 1:
        return states[0], ()
    loudest = min(states, key=lambda each: _LOUDEST_FIRST.index(each.state))
    alike = [each for each in states if each.state is loudest.state]
    remaining = [each.remaining_s for each in alike if each.remaining_s is not None]
    total = replace(
        loudest,
        held=sum(each.held for each in states),
        max_in_flight=sum(each.max_in_flight for each in states),
        remaining_s=max(remaining) if len(remaining) == len(alike) else None,
        problems=tuple(f"worker {each.worker}: {line}" for each in states for line in each.problems),
        lag=max((each.lag for each in states if each.lag is not None), default=None),
        last_error=max(each.last_error for each in states),
    )
    return total, () if len(alike) == len(states) else tuple(each.worker for each in alike)


def step_of(second: int, last: int) -> int:
    """Return the step of a series in which a second is, 0 to 89; below 0 if it is before.

    Args:
        second: The second.
        last: The last second of the series.
    """
    return STEPS - 1 - (last // STEP_S - second // STEP_S)


def _workers(numbers: Sequence[int]) -> str:
    word = "worker" if len(numbers) == 1 else "workers"
    return f"{word} {', '.join(map(str, numbers))}"


def _finite(seconds: float | None) -> float | None:
    """Return an age as JSON can hold it: -1 for one above all buckets."""
    return -1 if seconds is not None and math.isinf(seconds) else seconds


def _ratio(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, _DIGITS)


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M", time.gmtime(at_s))

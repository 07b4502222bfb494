"""View: the JSON that the page shows, made from the history in short slices."""

import json
import os
import platform
from collections.abc import Iterable
from typing import Any, Final

from nsqkit.monitor.channels import Channels
from nsqkit.monitor.history import History
from nsqkit.monitor.limit import Limit
from nsqkit.monitor.look import Look, by_labels
from nsqkit.monitor.marks import MOST_CHARACTERS, Mark
from nsqkit.monitor.nsqd import Nsqd
from nsqkit.monitor.ring import SECONDS
from nsqkit.monitor.row import Row, step_of
from nsqkit.monitor.slices import sliced
from nsqkit.policy.diagnosis import Diagnosis, diagnose
from nsqkit.policy.redaction import redact
from nsqkit.telemetry.metrics import WAIT_BUCKETS_S, Figure
from nsqkit.version import __version__

ROWS_AT_ONCE: Final = 10
"""Handlers whose rows are made without a break: about 1 ms."""
FIGURES_AT_ONCE: Final = 500
_ABOVE_ALL_S: Final = 20.0  # for values above all buckets, which have no upper bound

Json = dict[str, Any]


class View:
    """Shows a history as JSON.

    Args:
        history: The history.
        channels: What nsqd say of the channels.
        service: Name of the service.
    """

    def __init__(self, history: History, channels: Channels, service: str) -> None:
        self._history = history
        self._channels = channels
        self._service = service

    async def text(self, look: Look, figures: Iterable[Figure], at_s: float) -> str:
        """Return the whole first screen as JSON.

        Args:
            look: The present states and errors of the handlers.
            figures: The present metrics that handlers do not count themselves.
            at_s: The present time, seconds since 1970 UTC.
        """
        second = self._history.second or 0  # another sample may follow between two slices
        nsqd = Nsqd()
        async for figure in sliced(figures, FIGURES_AT_ONCE):
            nsqd.add(figure)
        rows, findings = [], []
        async for labels, states in sliced(by_labels(look.states).items(), ROWS_AT_ONCE):
            track = self._history.tracks.get(labels)
            if track is not None:
                in_nsqd = nsqd.of_handler(labels)
                errors = look.errors.get(labels, ())
                row = Row(states, track, errors, depth=in_nsqd["depth"], second=second, at_s=at_s)
                findings.append(row.finding)
                shown = row.shown() | in_nsqd | self._channels.shown(labels, track)
                if shown["depth"] is None:
                    shown["depth"] = shown["lag"]  # a bridge's route reads no channel
                rows.append(_text(shown))
        limits = self._limits(second, is_fleet=bool(look.workers))
        passed = [*filter(None, (each.saturation for each in limits))]
        changed = self._history.marks.last_change()
        changed_ago_s = second - (self._history.first if changed is None else changed)
        diagnosis = diagnose(findings, changed_ago_s=changed_ago_s, saturated=passed)
        screen = {
            "at": round(at_s, 1),
            "second": second,
            "service": self._shown(second, look),
            "verdict": _verdict(diagnosis),
            "saturation": [each.shown(second) for each in limits],
            "nsqd": nsqd.rows,
            "sagas": look.sagas,
            "marks": [_mark(mark, second, at_s) for mark in self._history.marks.since(second - SECONDS + 1)],
        }
        return f'{_text(screen)[:-1]},"handlers":[{",".join(rows)}]}}'

    def _shown(self, second: int, look: Look) -> Json:
        return {
            "name": self._service,
            "host": platform.node(),
            "pid": os.getpid(),
            "nsqkit": __version__,
            "up_s": second - self._history.first,
            "workers": [
                {"worker": each.number, "problem": redact(each.problem)[:MOST_CHARACTERS]}
                for each in look.workers
            ],
        }

    def _limits(self, second: int, *, is_fleet: bool) -> list[Limit]:
        """Return the figures of the process, each in its unit; of several, the worst in each second."""
        history, seconds = self._history, min(second - self._history.first + 1, SECONDS)
        waits = [_ms(each) for each in history.waits.last(second, seconds)]
        lags = [_ms(each) for each in history.lags.last(second, seconds)]
        cpu = [each / 10 for each in history.cpu.last(second, seconds)]
        memory = [*map(float, history.memory.last(second, seconds))]
        slowest, busiest, largest = (
            (", slowest worker", ", busiest worker", ", largest worker") if is_fleet else ("", "", "")
        )
        return [
            Limit("lag", f"Event-loop lag{slowest}", "ms", 100.0, lags, is_bound=True),
            Limit("wait", "Wait for a thread", "ms", 500.0, waits, is_bound=True),
            Limit("cpu", f"CPU{busiest}", "%", 90.0, cpu),
            Limit("memory", f"Memory{largest}", "MiB", None, memory),
        ]


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


def _mark(mark: Mark, second: int, at_s: float) -> Json:
    return {
        "step": max(0, step_of(mark.second, second)),
        "at": round(at_s - second + mark.second),
        "kind": mark.kind,
        "text": mark.text,
        "handler": mark.handler,
    }


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


def _ms(bucket: int) -> float:
    """Return the upper bound of a bucket of waits in milliseconds; 0 for none."""
    if not bucket:
        return 0.0
    return 1000 * (WAIT_BUCKETS_S[bucket - 1] if bucket <= len(WAIT_BUCKETS_S) else _ABOVE_ALL_S)

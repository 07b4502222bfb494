"""Diagnosis: says in words which handler fails, since when, and what the evidence points to.

It is never more certain than its evidence: without a sign, or with signs of two causes, the cause is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nsqkit.policy.requeue_level import MIN_DELIVERIES, Level, Share
from nsqkit.policy.saturation import Saturation

_ONE_PLACE_RATIO: Final = 0.9
_AFTER_CHANGE_S: Final = 120.0
_STEP_S: Final = 10.0
_MOST_NAMES: Final = 3
_ORDER: Final = tuple(Level)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors of one type at one line.

    Args:
        error_type: Name of the exception's type.
        place: ``file:line`` of the team's code; empty if it is not known.
        count: Their number in the last minutes.
    """

    error_type: str
    place: str
    count: int

    @property
    def label(self) -> str:
        """Type and place in words."""
        return f"{self.error_type} at {self.place}" if self.place else self.error_type


@dataclass(frozen=True, slots=True)
class Finding:
    """Facts about one handler.

    Args:
        name: The handler's name.
        level: How bad it is.
        minute: Deliveries of the last minute.
        since_ago_s: Seconds since the failures began; None if that is not known.
        since: The time when they began, as a clock shows it; empty if that is not known.
        groups: Its errors, the most frequent first.
        paused: Why its intake is paused, in words; empty if it is not.
        saturation: How it is at its limit while messages wait for it; None if it is not.
    """

    name: str
    level: Level
    minute: Share
    since_ago_s: float | None = None
    since: str = ""
    groups: tuple[ErrorGroup, ...] = ()
    paused: str = ""
    saturation: Saturation | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether it neither fails nor is at its limit."""
        return self.level is Level.OK and self.saturation is None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A verdict on a worker, with its evidence.

    Args:
        key: Changes when the verdict is another one, but not with each figure.
        level: The level of the worst handler.
        word: The level in one or two words.
        line: The verdict in one sentence.
        cause: What the evidence points to, in a few words; empty if no handler fails.
        evidence: Why, and what is not known; one sentence each.
        handler: The handler that it is about; empty if it is about none.
    """

    key: str
    level: Level
    word: str
    line: str
    cause: str = ""
    evidence: tuple[str, ...] = ()
    handler: str = ""


def diagnose(
    findings: Sequence[Finding], *, changed_ago_s: float, saturated: Sequence[Saturation]
) -> Diagnosis:
    """Return the verdict on all handlers of a worker.

    Args:
        findings: Facts about each handler.
        changed_ago_s: Seconds since the last start or deploy.
        saturated: The limits of the process that are passed now; empty if there are none.
    """
    worst = min(findings, key=_rank, default=None)
    full = sorted(filter(None, (each.saturation for each in findings)), key=lambda each: -each.for_s)
    if worst is None or (worst.level is Level.UNKNOWN and not full):
        return Diagnosis("idle", Level.UNKNOWN, "Unknown", "No messages in the last minute.")
    saturated = (*saturated, *full)
    match worst.level:
        case Level.BAD:
            return _failing(worst, findings, changed_ago_s=changed_ago_s, saturated=saturated)
        case Level.HELD:
            return _paused(findings, saturated)
        case Level.WARN:
            line = f"{worst.name} requeues {_percent(worst.minute)}, more than usual. No handler is failing."
            evidence = (f"Saturated: {_words(saturated)}.",) if saturated else ()
            return Diagnosis(
                f"warn:{worst.name}", Level.WARN, "To watch", line, evidence=evidence, handler=worst.name
            )
        case _:
            return _healthy(findings, saturated)


def _rank(finding: Finding) -> tuple[int, float]:
    return _ORDER.index(finding.level), -(finding.minute.ratio or 0.0)


def _healthy(findings: Sequence[Finding], saturated: Sequence[Saturation]) -> Diagnosis:
    worst = max(findings, key=lambda finding: finding.minute.ratio or 0.0)
    few = [each for each in findings if each.minute.received < MIN_DELIVERIES]
    evidence = []
    if worst.minute.ratio is not None:
        evidence.append(f"The highest share is {_percent(worst.minute, digits=1)}, of {worst.name}.")
    if few:
        evidence.append(f"Not known: fewer than {MIN_DELIVERIES} deliveries a minute of {_names(few)}.")
    if saturated:
        first, *others = saturated
        if others:
            evidence.append(f"Saturated too: {_words(others)}.")
        line = f"No handler fails, but {first.handler or 'the process'} is saturated: {first.text}."
        key = f"saturated:{first.handler}"
        return Diagnosis(key, Level.WARN, "To watch", line, "saturation", tuple(evidence), first.handler)
    known = len(findings) - len(few)
    evidence.append("No sign of saturation.")
    line = "No handler fails." if few else f"{_handlers(known)} within their usual requeue rate."
    return Diagnosis("ok", Level.OK, "Healthy", line, evidence=tuple(evidence))


def _paused(findings: Sequence[Finding], saturated: Sequence[Saturation]) -> Diagnosis:
    held = [each for each in findings if each.level is Level.HELD]
    first = held[0]
    more = f" {_handlers(len(held) - 1, more=True)} paused." if len(held) > 1 else ""
    key = f"held:{','.join(each.name for each in held)}"
    line = f"{first.name} takes in no messages: {first.paused or 'paused'}.{more}"
    evidence = (f"Saturated: {_words(saturated)}.",) if saturated else ()
    return Diagnosis(key, Level.HELD, "Paused", line, evidence=evidence, handler=first.name)


def _failing(
    worst: Finding, findings: Sequence[Finding], *, changed_ago_s: float, saturated: Sequence[Saturation]
) -> Diagnosis:
    others = [each for each in findings if each is not worst]
    failing = [each for each in others if each.level is Level.BAD]
    since = f" since {worst.since}" if worst.since else ", since before the data begin"
    top = f": {worst.groups[0].label}" if worst.groups else ""
    line = f"{worst.name} requeues {_percent(worst.minute)}{since}{top}. {_about_others(others, failing)}"
    cause, evidence = _cause(worst, others, failing, changed_ago_s=changed_ago_s, saturated=saturated)
    label = worst.groups[0].label if worst.groups else ""
    key = f"bad:{worst.name}:{label}:{cause}"
    return Diagnosis(key, Level.BAD, "Failing", line.rstrip(), cause, evidence, worst.name)


def _about_others(others: Sequence[Finding], failing: Sequence[Finding]) -> str:
    if failing:
        return f"{_handlers(len(failing), more=True)} failing."
    is_healthy = others and all(each.is_healthy for each in others)
    return "Other handlers are healthy." if is_healthy else ""


def _cause(
    worst: Finding,
    others: Sequence[Finding],
    failing: Sequence[Finding],
    *,
    changed_ago_s: float,
    saturated: Sequence[Saturation],
) -> tuple[str, tuple[str, ...]]:
    """Return the suspected cause, and the evidence for and against it."""
    evidence, causes = [], []
    share = _top_share(worst)
    healthy = [each for each in others if each.is_healthy]
    came_first = [each for each in saturated if _is_before(each, worst)]
    is_process_first = any(not each.handler for each in came_first)
    if share is not None:
        evidence.append(f"{100 * share:.0f} % of its errors are {worst.groups[0].label}.")
    if healthy and not failing:
        verb = "is" if len(healthy) == 1 else "are"
        evidence.append(f"{len(healthy)} of the {len(others)} other handlers {verb} healthy.")
    if share is not None and share >= _ONE_PLACE_RATIO and healthy and not failing and not is_process_first:
        causes.append("a dependency")
    if worst.since_ago_s is not None and _is_after(worst.since_ago_s, changed_ago_s):
        evidence.append("It began within 2 minutes after the last start or deploy.")
        causes.append("the code")
    if came_first:
        evidence.append(f"Saturated before it began: {_words(came_first)}.")
        causes.append("saturation")
    elif saturated:
        evidence.append(f"Saturated, but no sign that this came first: {_words(saturated)}.")
    else:
        evidence.append("No sign of saturation.")
    if len(causes) == 1:
        return f"looks like {causes[0]}", (*evidence, "Not known: the state of the dependency itself.")
    reason = f"signs of {' and '.join(causes)}" if causes else "no sign points to one cause"
    return "cause not known", (*evidence, f"Not known: the cause; {reason}.")


def _top_share(finding: Finding) -> float | None:
    total = sum(each.count for each in finding.groups)
    return finding.groups[0].count / total if total else None


def _percent(share: Share, digits: int = 0) -> str:
    return f"{100 * (share.ratio or 0.0):.{digits}f} %"


def _handlers(count: int, *, more: bool = False) -> str:
    word = "more handler" if more else "handler"
    return f"1 {word} is" if count == 1 else f"{count} {word}s are"


def _is_before(saturation: Saturation, finding: Finding) -> bool:
    """Return whether the process or this handler was saturated first; another handler's limit is its own."""
    is_own = saturation.handler in {"", finding.name}
    return is_own and finding.since_ago_s is not None and saturation.for_s > finding.since_ago_s


def _is_after(since_ago_s: float, changed_ago_s: float) -> bool:
    """Return whether failures began soon after a change; both times are known to a step of 10 seconds."""
    return -_STEP_S <= changed_ago_s - since_ago_s <= _AFTER_CHANGE_S


def _words(saturated: Sequence[Saturation]) -> str:
    shown = "; ".join(each.words for each in saturated[:_MOST_NAMES])
    left = len(saturated) - _MOST_NAMES
    return f"{shown}; {left} more" if left > 0 else shown


def _names(findings: Sequence[Finding]) -> str:
    shown = ", ".join(each.name for each in findings[:_MOST_NAMES])
    left = len(findings) - _MOST_NAMES
    return f"{shown} and {left} more" if left > 0 else shown

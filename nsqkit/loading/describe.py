"""Descriptions of handlers, in words and numbers, for `nsqkit handlers`; it prints nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import dead_topic
from nsqkit.policy.rate import RateLimit
from nsqkit.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class HandlerRow:
    """The effective configuration of one handler; times in seconds.

    Args:
        handler: Name of the handler class.
        topic: Topic that it subscribes to.
        channel: Channel that it subscribes to.
        events: Wire types of its events, such as ``order.created.v1``.
        kind: ``async``, ``loop``, ``threads:8``, or ``batch:500/2s`` for at most 500 messages within 2 s.
        retry: Delays between deliveries, and rules for certain exceptions, in words.
        timeout_s: Time limit of one call; None without a limit.
        max_in_flight: Maximum number of messages in flight in one worker.
        on_unknown: What happens to other event types: ``requeue``, ``discard`` or ``dead_letter``.
        dead_letters: Topic for dead letters; None if they are discarded.
        location: ``file:line`` of the class.
        kill_switch: Condition for pausing the intake, in words; None without a kill switch.
        rate_limit: Messages started per second, in words; None without a limit.
        middleware: Names of its own extensions, the outermost first.
        uses: Names of its resources per message or per thread.
        once: Name of the database that remembers the events that it has handled; None for none.
    """

    handler: str
    topic: str
    channel: str
    events: tuple[str, ...]
    kind: str
    retry: str
    timeout_s: float | None
    max_in_flight: int
    on_unknown: str
    dead_letters: str | None
    location: str
    kill_switch: str | None = None
    rate_limit: str | None = None
    middleware: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    once: str | None = None


def table(specs: Sequence[HandlerSpec], settings: Settings | None = None) -> tuple[HandlerRow, ...]:
    """Return the effective configuration of handlers, one row each."""
    effective = settings or Settings()
    return tuple(_row(spec, effective) for spec in specs)


def _row(spec: HandlerSpec, settings: Settings) -> HandlerRow:
    layers = spec.middleware[:-1] if spec.once else spec.middleware  # the innermost is the inbox
    return HandlerRow(
        handler=spec.name,
        topic=spec.topic,
        channel=spec.channel,
        events=tuple(known.wire_type for known in spec.event_types),
        kind=_kind(spec, settings),
        retry=_retry_text(spec),
        timeout_s=None if spec.run_on_loop else spec.timeout_s,
        max_in_flight=spec.most_in_flight,
        on_unknown=spec.on_unknown or "requeue",
        dead_letters=dead_topic(spec.topic, spec.channel) if spec.keeps_dead_letters else None,
        location=spec.location,
        kill_switch=_switch_text(spec.kill_switch) if spec.kill_switch else None,
        rate_limit=_rate_text(spec.rate_limit) if spec.rate_limit else None,
        middleware=tuple(getattr(each, "__name__", type(each).__name__) for each in layers),
        uses=tuple(each.name for each in spec.uses),
        once=spec.once.name if spec.once else None,
    )


def _switch_text(switch: KillSwitch) -> str:
    """Return such as ``at 50% failed of 20 or more in 1m, for 30s to 15m, then 1 trial; not SkuError``."""
    opens = f"at {switch.failure_ratio * 100:g}% failed of {switch.min_messages} or more in"
    lasts = f"{_seconds_text(switch.open_s)} to {_seconds_text(switch.max_open_s)}"
    trials = f"{switch.trials} trial{'s' if switch.trials > 1 else ''}"
    blamed = "" if switch.include == (Exception,) else f"; only {_names(switch.include)}"
    spared = f"; not {_names(switch.exclude)}" if switch.exclude else ""
    return f"{opens} {_seconds_text(switch.window_s)}, for {lasts}, then {trials}{blamed}{spared}"


def _rate_text(limit: RateLimit) -> str:
    burst = f", bursts of {limit.burst}" if limit.burst > 1 else ""
    return f"{limit.per_s:g} messages/s{burst}"


def _names(errors: tuple[type[Exception], ...]) -> str:
    return ", ".join(error.__name__ for error in errors) or "none"


def _kind(spec: HandlerSpec, settings: Settings) -> str:
    if spec.max_messages is not None:
        return f"batch:{spec.max_messages}/{_seconds_text(spec.max_wait_s)}"
    if spec.is_async:
        return "async"
    return "loop" if spec.run_on_loop else f"threads:{spec.threads or settings.threads}"


def _retry_text(spec: HandlerSpec) -> str:
    runs = [(text, len(list(same))) for text, same in groupby(map(_seconds_text, spec.retry.schedule_s()))]
    delays = ", ".join(text if count == 1 else f"{text} × {count}" for text, count in runs)
    after = "dead letter" if spec.keeps_dead_letters else "discard"
    schedule = f"{delays}, then {after}" if delays else f"{after} at once"
    rules = "; ".join(f"{error.__name__}: {outcome}" for error, outcome in spec.retry.on.items())
    return f"{schedule}; {rules}" if rules else schedule


def _seconds_text(delay_s: float) -> str:
    minutes, seconds = divmod(round(delay_s, 3), 60)
    return (f"{minutes:g}m" if minutes else "") + (f"{seconds:g}s" if seconds or not minutes else "")

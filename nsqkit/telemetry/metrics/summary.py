"""Summary: what each handler did so far, as one row of a table. It prints nothing."""

from dataclasses import dataclass

from nsqkit.telemetry.metrics.families import FAMILIES
from nsqkit.telemetry.metrics.snapshot import Labels, Snapshot


@dataclass(frozen=True, slots=True)
class HandlerSummary:
    """What one handler did since the process started.

    Attributes:
        handler: The handler's name.
        topic: The source topic.
        channel: The channel.
        received: Deliveries that arrived.
        success: Deliveries with this outcome.
        requeued: All requeues.
        requeue_rate_ratio: Requeues after an error or a timeout over received, in [0, 1].
        dead_lettered: Deliveries with this outcome.
        p50_s: Estimated median of the handler's duration in seconds; None while nothing ran.
        p95_s: Its 95th percentile.
        p99_s: Its 99th percentile.
        given_back: Requeues without an error or a timeout.
        discarded: Deliveries with this outcome.
        lease_lost: Deliveries with this outcome.
    """

    handler: str
    topic: str
    channel: str
    received: int
    success: int
    requeued: int
    requeue_rate_ratio: float
    dead_lettered: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    given_back: int = 0
    discarded: int = 0
    lease_lost: int = 0


def summaries(snapshot: Snapshot) -> tuple[HandlerSummary, ...]:
    """Return one row per handler, in the order of the snapshot."""
    return tuple(_summary(snapshot, labels) for labels in snapshot.of("nsqkit_messages_received_total"))


def _summary(snapshot: Snapshot, handler: Labels) -> HandlerSummary:
    processed = _of(snapshot, "nsqkit_messages_processed_total", handler)
    requeued = _of(snapshot, "nsqkit_messages_requeued_total", handler)
    durations = snapshot.of("nsqkit_handler_duration_seconds")[handler]
    received = snapshot.of("nsqkit_messages_received_total")[handler]
    failed = requeued["error"] + requeued["timeout"]
    topic, channel, name = handler
    return HandlerSummary(
        handler=name,
        topic=topic,
        channel=channel,
        received=received,
        success=processed["success"],
        requeued=processed["requeue"],
        requeue_rate_ratio=failed / received if received else 0.0,
        dead_lettered=processed["dead_letter"],
        p50_s=durations.quantile(0.50),
        p95_s=durations.quantile(0.95),
        p99_s=durations.quantile(0.99),
        given_back=processed["requeue"] - failed,
        discarded=processed["discard"],
        lease_lost=processed["lease_lost"],
    )


def _of(snapshot: Snapshot, family: str, handler: Labels) -> dict[str, int]:
    """Return the numbers of one handler by the value of the family's own label."""
    numbers = snapshot.of(family)
    return {value: numbers[*handler, value] for value in FAMILIES[family].values}

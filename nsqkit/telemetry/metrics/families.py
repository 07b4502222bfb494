"""Families: the one table of all metrics of nsqkit's own. It only names them; nothing is counted here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from nsqkit.handler.publish_counts import PublishOutcome
from nsqkit.policy.breaker import BreakerState
from nsqkit.policy.connection_state import ConnectionState
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.policy.route import PauseReason, RefusalReason
from nsqkit.policy.verdict import DeadLetterReason, OutcomeLabel, RequeueReason

OUTCOMES: Final = tuple(map(str, OutcomeLabel))
REQUEUE_REASONS: Final = tuple(map(str, RequeueReason))
DEAD_LETTER_REASONS: Final = tuple(map(str, DeadLetterReason))
COMMANDS: Final = ("FIN", "REQ", "TOUCH")
OTHER_ERROR: Final = "other"
HANDLER_LABELS: Final = ("topic", "channel", "handler")
_NSQD_LABELS: Final = (*HANDLER_LABELS, "nsqd")
_POOL_LABELS: Final = ("database", "kind")

# Seconds, upper bounds, inclusive. Durations are read as quantiles, so their buckets are fine.
DURATION_BUCKETS_S: Final = (
    *(0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.00075),
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
AGE_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
WAIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Family(NamedTuple):
    """One metric, as Prometheus shows it.

    Args:
        name: The full name.
        kind: How Prometheus reads it.
        help: One sentence for its HELP line and the reference.
        labels: Names of its labels; for a metric per handler, :data:`HANDLER_LABELS` come first.
        values: The closed set of values of its last label; each is shown, at 0 too. Empty without one.
        buckets: Of a histogram: upper bounds, inclusive, in seconds.
        merge: How several processes share a gauge: their sum, or the largest, as of what each of them reads
            from the same nsqd. Counters and histograms always add up.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = HANDLER_LABELS
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Literal["sum", "max"] = "sum"

    @property
    def per_handler(self) -> bool:
        """Whether each handler counts its own, which exists from the start."""
        return self.labels[: len(HANDLER_LABELS)] == HANDLER_LABELS and "nsqd" not in self.labels


_TABLE: Final = (
    Family("nsqkit_messages_received_total", "counter", "Deliveries that arrived."),
    Family("nsqkit_requeue_delays_clamped_total", "counter", "Requeue delays cut to the longest allowed."),
    Family(
        "nsqkit_messages_processed_total",
        "counter",
        "Deliveries that ended, by outcome.",
        (*HANDLER_LABELS, "outcome"),
        OUTCOMES,
    ),
    Family(
        "nsqkit_messages_requeued_total",
        "counter",
        "Deliveries given back to nsqd, by reason.",
        (*HANDLER_LABELS, "reason"),
        REQUEUE_REASONS,
    ),
    Family(
        "nsqkit_messages_dead_lettered_total",
        "counter",
        "Confirmed dead letters, by reason.",
        (*HANDLER_LABELS, "reason"),
        DEAD_LETTER_REASONS,
    ),
    Family(
        "nsqkit_handler_errors_total",
        "counter",
        "Exceptions that handlers raised, by declared type.",
        (*HANDLER_LABELS, "error_type"),
    ),
    Family(
        "nsqkit_settle_failures_total",
        "counter",
        "FIN, REQ and TOUCH that nsqd refused.",
        (*HANDLER_LABELS, "command"),
        COMMANDS,
    ),
    Family("nsqkit_in_flight", "gauge", "Deliveries in flight now."),
    Family("nsqkit_max_in_flight", "gauge", "Deliveries that may be in flight."),
    Family("nsqkit_lost_slots", "gauge", "Handler calls that run on after the lease of their message."),
    Family(
        "nsqkit_intake_paused", "gauge", "1 while no messages are taken in, for whatever reason.", merge="max"
    ),
    Family(
        "nsqkit_topic_without_producer",
        "gauge",
        "1 while nsqlookupd names no nsqd with the handler's topic.",
        merge="max",
    ),
    Family("nsqkit_stalls_total", "counter", "Times that an nsqd stopped delivering waiting messages."),
    Family(
        "nsqkit_connection_state",
        "gauge",
        "1 for the present state of a handler's connections to an nsqd.",
        (*_NSQD_LABELS, "state"),
        tuple(map(str, ConnectionState)),
        merge="max",
    ),
    Family("nsqkit_rdy", "gauge", "Deliveries that nsqd may have in flight here (RDY).", _NSQD_LABELS),
    Family(
        "nsqkit_channel_depth",
        "gauge",
        "Messages that wait in the handler's channel in an nsqd.",
        _NSQD_LABELS,
        merge="max",
    ),
    Family(
        "nsqkit_channel_deferred",
        "gauge",
        "Messages in the handler's channel in an nsqd whose delay is not over.",
        _NSQD_LABELS,
        merge="max",
    ),
    Family(
        "nsqkit_channel_in_flight",
        "gauge",
        "Messages of the handler's channel in an nsqd that any consumer has not answered yet.",
        _NSQD_LABELS,
        merge="max",
    ),
    Family(
        "nsqkit_channel_paused",
        "gauge",
        "1 while the handler's topic or channel is paused in an nsqd.",
        _NSQD_LABELS,
        merge="max",
    ),
    Family(
        "nsqkit_kill_switch_state",
        "gauge",
        "1 for the present state of a handler's kill switch.",
        (*HANDLER_LABELS, "state"),
        tuple(map(str, SwitchState)),
        merge="max",
    ),
    Family(
        "nsqkit_breaker_state",
        "gauge",
        "1 for the present state of a dependency's breaker.",
        ("dependency", "state"),
        tuple(map(str, BreakerState)),
        merge="max",
    ),
    Family(
        "nsqkit_handler_duration_seconds",
        "histogram",
        "Time that the handler ran.",
        buckets=DURATION_BUCKETS_S,
    ),
    Family("nsqkit_message_age_seconds", "histogram", "Time from publish to receipt.", buckets=AGE_BUCKETS_S),
    Family(
        "nsqkit_executor_wait_seconds",
        "histogram",
        "Time that a plain handler waited for a thread.",
        buckets=WAIT_BUCKETS_S,
    ),
    Family(
        "nsqkit_published_total",
        "counter",
        "Messages that handlers and publishers of the process published, by outcome.",
        ("topic", "outcome"),
        tuple(map(str, PublishOutcome)),
    ),
    Family(
        "nsqkit_background_tasks_died",
        "gauge",
        "Background tasks that have died; the process needs a restart.",
        (),
    ),
    Family(
        "nsqkit_log_lines_dropped_total",
        "counter",
        "Log lines that were dropped because nobody read them.",
        (),
    ),
    Family(
        "nsqkit_event_loop_lag_seconds",
        "histogram",
        "How much later than due the event loop ran a timer.",
        (),
        buckets=WAIT_BUCKETS_S,
    ),
    Family(
        "nsqkit_event_loop_blocks_total",
        "counter",
        "Times that code kept the event loop from turning for a second or more.",
        (),
    ),
    Family(
        "nsqkit_clock_skew_seconds",
        "gauge",
        "How far this machine's clock is ahead of an nsqd's; 0 if they agree to about a second.",
        ("nsqd",),
        merge="max",
    ),
    Family(
        "nsqkit_database_pool_size",
        "gauge",
        "Connections to a database that handlers of a kind may use at the same time.",
        _POOL_LABELS,
    ),
    Family("nsqkit_database_pool_in_use", "gauge", "Connections of the pool that are in use.", _POOL_LABELS),
    Family(
        "nsqkit_database_pool_waiting",
        "gauge",
        "Callers that wait for a connection of the pool, or for the database to accept a new one.",
        _POOL_LABELS,
    ),
    Family(
        "nsqkit_outbox_waiting",
        "gauge",
        "Events of an outbox that are due and not sent; without those that are parked.",
        ("database",),
        merge="max",
    ),
    Family(
        "nsqkit_outbox_oldest_age_seconds",
        "gauge",
        "By how long the event of an outbox is late that waits longest.",
        ("database",),
        merge="max",
    ),
    Family(
        "nsqkit_saga_changes_total",
        "counter",
        "Changes of status of a saga's instances in this worker, by the new status.",
        ("database", "saga", "status"),
    ),
    Family(
        "nsqkit_route_lag",
        "gauge",
        "Records that wait at Kafka for the group of a bridge's route, or at RabbitMQ in its queue.",
        ("route",),
        merge="max",
    ),
    Family(
        "nsqkit_route_disconnected",
        "gauge",
        "1 while Kafka or RabbitMQ is away for a bridge's route.",
        ("route",),
        merge="max",
    ),
    Family(
        "nsqkit_route_paused",
        "gauge",
        "1 while a bridge's route to NSQ reads nothing, by reason.",
        ("route", "reason"),
        tuple(map(str, PauseReason)),
        merge="max",
    ),
    Family(
        "nsqkit_route_refused_total",
        "counter",
        "Records that NSQ cannot take, stored as dead letters, by reason.",
        ("route", "reason"),
        tuple(map(str, RefusalReason)),
    ),
    Family(
        "nsqkit_route_redelivered_total",
        "counter",
        "Records that Kafka or RabbitMQ says it has delivered before; they are published again.",
        ("route",),
    ),
    Family(
        "nsqkit_route_skipped_total",
        "counter",
        "Records that had left the same NSQ topic before, and were not published again.",
        ("route",),
    ),
    Family("nsqkit_process_cpu_seconds_total", "counter", "CPU time of the process, user and system.", ()),
    Family("nsqkit_process_resident_memory_bytes", "gauge", "Resident memory of the process.", ()),
    Family("nsqkit_process_virtual_memory_bytes", "gauge", "Virtual memory of the process.", ()),
    Family("nsqkit_process_open_fds", "gauge", "Open file descriptors of the process.", ()),
    Family("nsqkit_process_max_fds", "gauge", "File descriptors that the process may open.", ()),
    Family(
        "nsqkit_process_start_time_seconds",
        "gauge",
        "When the process started, since 1970 UTC.",
        (),
        merge="max",
    ),
)
FAMILIES: Final[Mapping[str, Family]] = MappingProxyType({each.name: each for each in _TABLE})
"""Every family by its name, in the order in which they are shown."""

"""What is counted for each handler and for the process, and how Prometheus reads it."""

from nsqkit.telemetry.metrics.handler import (
    COMMANDS,
    DEAD_LETTER_REASONS,
    OTHER_ERROR,
    OUTCOMES,
    REQUEUE_REASONS,
    HandlerMetrics,
    HandlerSummary,
)
from nsqkit.telemetry.metrics.histogram import AGE_BUCKETS_S, DURATION_BUCKETS_S, WAIT_BUCKETS_S, Histogram
from nsqkit.telemetry.metrics.registry import CONTENT_TYPE, Metrics

__all__ = [
    "AGE_BUCKETS_S",
    "COMMANDS",
    "CONTENT_TYPE",
    "DEAD_LETTER_REASONS",
    "DURATION_BUCKETS_S",
    "OTHER_ERROR",
    "OUTCOMES",
    "REQUEUE_REASONS",
    "WAIT_BUCKETS_S",
    "HandlerMetrics",
    "HandlerSummary",
    "Histogram",
    "Metrics",
]

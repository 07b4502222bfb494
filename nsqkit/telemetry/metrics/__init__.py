"""What is counted for each handler and for the process, and how Prometheus reads it."""

from nsqkit.telemetry.metrics.families import (
    AGE_BUCKETS_S,
    COMMANDS,
    DEAD_LETTER_REASONS,
    DURATION_BUCKETS_S,
    FAMILIES,
    OTHER_ERROR,
    OUTCOMES,
    REQUEUE_REASONS,
    WAIT_BUCKETS_S,
    Family,
)
from nsqkit.telemetry.metrics.handler import HandlerMetrics, HandlerSummary
from nsqkit.telemetry.metrics.histogram import Histogram
from nsqkit.telemetry.metrics.registry import CONTENT_TYPE, Metrics

__all__ = [
    "AGE_BUCKETS_S",
    "COMMANDS",
    "CONTENT_TYPE",
    "DEAD_LETTER_REASONS",
    "DURATION_BUCKETS_S",
    "FAMILIES",
    "OTHER_ERROR",
    "OUTCOMES",
    "REQUEUE_REASONS",
    "WAIT_BUCKETS_S",
    "Family",
    "HandlerMetrics",
    "HandlerSummary",
    "Histogram",
    "Metrics",
]

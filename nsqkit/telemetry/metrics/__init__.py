"""What is counted for each handler and for the process, and how Prometheus reads it."""

from nsqkit.telemetry.metrics.counts import HandlerCounts, Vitals
from nsqkit.telemetry.metrics.exposition import Exposition, Format
from nsqkit.telemetry.metrics.families import (
    AGE_BUCKETS_S,
    COMMANDS,
    DEAD_LETTER_REASONS,
    DURATION_BUCKETS_S,
    FAMILIES,
    HANDLER_LABELS,
    OTHER_ERROR,
    OUTCOMES,
    REQUEUE_REASONS,
    WAIT_BUCKETS_S,
    Family,
)
from nsqkit.telemetry.metrics.handler import HandlerMetrics
from nsqkit.telemetry.metrics.histogram import Histogram
from nsqkit.telemetry.metrics.registry import Figure, Metrics
from nsqkit.telemetry.metrics.snapshot import Exemplar, HistogramSnapshot, Labels, Snapshot
from nsqkit.telemetry.metrics.summary import HandlerSummary, summaries

__all__ = [
    "AGE_BUCKETS_S",
    "COMMANDS",
    "DEAD_LETTER_REASONS",
    "DURATION_BUCKETS_S",
    "FAMILIES",
    "HANDLER_LABELS",
    "OTHER_ERROR",
    "OUTCOMES",
    "REQUEUE_REASONS",
    "WAIT_BUCKETS_S",
    "Exemplar",
    "Exposition",
    "Family",
    "Figure",
    "Format",
    "HandlerCounts",
    "HandlerMetrics",
    "HandlerSummary",
    "Histogram",
    "HistogramSnapshot",
    "Labels",
    "Metrics",
    "Snapshot",
    "Vitals",
    "summaries",
]

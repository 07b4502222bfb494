"""Accounts: whether what a worker counts adds up, by its own metrics: each delivery has one outcome."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

RECEIVED = "nsqkit_messages_received_total"
_PROCESSED = "nsqkit_messages_processed_total"
_IN_FLIGHT = "nsqkit_in_flight"


def miscounts(metrics: str) -> Iterator[str]:
    """Yield a line for each handler that has not as many outcomes and deliveries in flight as it received.

    Args:
        metrics: What ``/metrics`` answered.
    """
    sums: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name in {RECEIVED, _PROCESSED, _IN_FLIGHT}:
                sums[sample.labels["handler"]][sample.name] += int(sample.value)
    for handler, found in sorted(sums.items()):
        if found[RECEIVED] != found[_PROCESSED] + found[_IN_FLIGHT]:
            yield (
                f"{handler} received {found[RECEIVED]} deliveries, counted {found[_PROCESSED]} outcomes, "
                f"and has {found[_IN_FLIGHT]} in flight"
            )


def total(metrics: str, name: str) -> int:
    """Return the sum of one metric over all its labels.

    Args:
        metrics: What ``/metrics`` answered.
        name: Of the metric's samples.
    """
    families = text_string_to_metric_families(metrics)
    return int(sum(each.value for family in families for each in family.samples if each.name == name))

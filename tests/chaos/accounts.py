"""Accounts: whether what a worker counts adds up, by its own metrics: each delivery has one outcome."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

_RECEIVED = "nsqkit_messages_received_total"
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
            if sample.name in {_RECEIVED, _PROCESSED, _IN_FLIGHT}:
                sums[sample.labels["handler"]][sample.name] += int(sample.value)
    for handler, found in sorted(sums.items()):
        if found[_RECEIVED] != found[_PROCESSED] + found[_IN_FLIGHT]:
            yield (
                f"{handler} received {found[_RECEIVED]} deliveries, counted {found[_PROCESSED]} outcomes, "
                f"and has {found[_IN_FLIGHT]} in flight"
            )

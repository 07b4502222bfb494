"""Process: CPU time, memory and file descriptors of this process, as its operating system counts them."""

from collections.abc import Iterator

from prometheus_client import ProcessCollector

from nsqkit.telemetry.metrics.snapshot import Labels


def process_figures() -> Iterator[tuple[str, Labels, float]]:
    """Yield family, labels and number of each figure; only Linux has them."""
    for metric in ProcessCollector(namespace="nsqkit", registry=None).collect():
        for sample in metric.samples:
            yield sample.name, (), sample.value

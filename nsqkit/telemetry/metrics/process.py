"""Process: CPU time, memory and file descriptors of a process, as its operating system counts them."""

from collections.abc import Iterator

from prometheus_client import ProcessCollector

from nsqkit.telemetry.metrics.snapshot import Labels


class ProcessFigures:
    """Reads the figures of one process; Linux only, elsewhere there are none.

    Args:
        pid: The process; by default this one.
    """

    def __init__(self, pid: int | None = None) -> None:
        process = "self" if pid is None else pid
        self._collector = ProcessCollector(namespace="nsqkit", pid=lambda: process, registry=None)

    def __call__(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield family, labels and number of each; none if the process has ended."""
        for metric in self._collector.collect():
            for sample in metric.samples:
                yield sample.name, (), sample.value

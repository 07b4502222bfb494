"""Monitor: the page at ``/`` of the admin port, and the last 15 minutes that it shows. It decides nothing."""

from nsqkit.monitor.failure_log import FailureLog
from nsqkit.monitor.look import Look, Source
from nsqkit.monitor.marks import MarkKind
from nsqkit.monitor.monitor import Monitor
from nsqkit.monitor.sagas import Sagas
from nsqkit.monitor.worker_source import WorkerSource

__all__ = ["FailureLog", "Look", "MarkKind", "Monitor", "Sagas", "Source", "WorkerSource"]

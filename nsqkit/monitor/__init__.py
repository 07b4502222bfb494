"""Monitor: the page at ``/`` of the admin port, and the last 15 minutes that it shows. It decides nothing."""

from nsqkit.monitor.monitor import Monitor

__all__ = ["Monitor"]

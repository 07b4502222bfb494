"""What operators and orchestrators ask a running worker over HTTP; it decides nothing itself."""

from nsqkit.admin.loop_lag import LoopLag
from nsqkit.admin.server import AdminServer, Health

__all__ = ["AdminServer", "Health", "LoopLag"]

"""HTTP server in a worker for operators and orchestrators: metrics, health, pausing. It decides nothing."""

from nsqkit.admin.access import Access
from nsqkit.admin.handlers import Handlers, HandlerState, IntakeState
from nsqkit.admin.pages import Health
from nsqkit.admin.server import AdminServer
from nsqkit.telemetry.loop_lag import LoopLag

__all__ = ["Access", "AdminServer", "HandlerState", "Handlers", "Health", "IntakeState", "LoopLag"]

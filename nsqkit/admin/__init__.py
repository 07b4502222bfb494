"""What operators and orchestrators ask a running worker over HTTP; it decides nothing itself."""

from nsqkit.admin.handlers import Handlers, HandlerState, IntakeState
from nsqkit.admin.pages import Health
from nsqkit.admin.server import AdminServer
from nsqkit.telemetry.loop_lag import LoopLag

__all__ = ["AdminServer", "HandlerState", "Handlers", "Health", "IntakeState", "LoopLag"]

"""An admin port with the monitor of :mod:`tests.unit.monitor.bench`, which may require a token."""

from collections.abc import Sequence

from nsqkit import Settings
from nsqkit.admin import Access, AdminServer
from nsqkit.handler.group import HandlerGroup
from nsqkit.monitor.pages import routes
from nsqkit.telemetry.metrics import Metrics
from tests.unit.admin.port import Port
from tests.unit.monitor.bench import Shop
from tests.unit.runtime.bench import RecordingLog


class MonitorPort(Port):
    """An admin port with a monitor.

    Args:
        token: The token that it requires; empty for none.
        settings: Settings of the worker; None for any.
        groups: Groups of its handlers.
    """

    def __init__(
        self, token: str = "", settings: Settings | None = None, groups: Sequence[type[HandlerGroup]] = ()
    ) -> None:
        super().__init__()
        self.shop = Shop(settings, groups)
        self.access = Access(Settings(admin_token=token or None), RecordingLog())
        self.server = AdminServer(
            Metrics(),
            self.worker,
            "127.0.0.1",
            0,
            handlers=self.worker,
            access=self.access,
            more_pages=routes(self.shop.monitor, self.worker, self.access),
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.number}"

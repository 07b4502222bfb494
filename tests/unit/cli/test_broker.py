"""`nsqkit broker`: started on the ports that were asked for, stopped by a signal."""

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from nsqkit.policy.errors import SettingsError

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit


class _Broker:
    """Stands for nsqkit.devbroker.DevBroker."""

    events: ClassVar[list[object]] = []
    failure: ClassVar[Exception | None] = None

    def __init__(self, **options: Any) -> None:
        self.events.append(options)

    async def start(self) -> None:
        if self.failure:
            raise self.failure
        self.events.append("started")

    async def stop(self) -> None:
        self.events.append("stopped")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[_Broker]:
    def stop_event() -> asyncio.Event:
        stop = asyncio.Event()
        stop.set()
        return stop

    monkeypatch.setattr("nsqkit.signals.stop_event", stop_event)
    monkeypatch.setattr("nsqkit.devbroker.DevBroker", _Broker)
    monkeypatch.setattr(_Broker, "events", [])
    return _Broker


def test_it_listens_where_nsqd_does_by_default(nsqkit: "Nsqkit", fake: type[_Broker]) -> None:
    assert nsqkit("broker").code == 0
    assert fake.events == [{"tcp_port": 4150, "http_port": 4151, "host": "127.0.0.1"}, "started", "stopped"]


def test_it_listens_where_it_is_told(nsqkit: "Nsqkit", fake: type[_Broker]) -> None:
    assert nsqkit("broker", "--tcp-port", "0", "--http-port", "1", "--host", "::1").code == 0
    assert fake.events[0] == {"tcp_port": 0, "http_port": 1, "host": "::1"}


def test_a_port_in_use_is_wrong_use(
    nsqkit: "Nsqkit", fake: type[_Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "failure", SettingsError("--tcp-port 4150: the port is in use"))
    result = nsqkit("broker")
    assert (result.code, result.err) == (2, "error: --tcp-port 4150: the port is in use\n")

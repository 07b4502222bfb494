"""`nsqkit broker`: started where it was asked for, with an nsqlookupd if wanted, stopped by a signal."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from nsqkit.devbroker.storage import FILE_NAME
from nsqkit.errors import SettingsError

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


class _Lookupd(_Broker):
    """Stands for nsqkit.devbroker.DevLookupd."""

    tcp_address = "127.0.0.1:4160"


DEFAULTS: dict[str, Any] = {
    "tcp_port": 4150,
    "http_port": 4151,
    "host": "127.0.0.1",
    "broadcast_address": "",
    "data_path": None,
    "lookupd_tcp_addresses": [],
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[_Broker]:
    def stop_event(_: object) -> asyncio.Event:
        stop = asyncio.Event()
        stop.set()
        return stop

    monkeypatch.setattr("nsqkit.program.stop_event", stop_event)
    monkeypatch.setattr("nsqkit.devbroker.DevBroker", _Broker)
    monkeypatch.setattr("nsqkit.devbroker.DevLookupd", _Lookupd)
    monkeypatch.setattr(_Broker, "events", [])
    return _Broker


def test_it_listens_where_nsqd_does_by_default(nsqkit: "Nsqkit", fake: type[_Broker]) -> None:
    assert nsqkit("broker").code == 0
    assert fake.events == [DEFAULTS, "started", "stopped"]


def test_it_listens_where_it_is_told(nsqkit: "Nsqkit", fake: type[_Broker]) -> None:
    options = ("--tcp-port", "0", "--http-port", "1", "--host", "::1", "--broadcast-address", "here")
    assert nsqkit("broker", *options).code == 0
    assert fake.events[0] == DEFAULTS | {
        "tcp_port": 0,
        "http_port": 1,
        "host": "::1",
        "broadcast_address": "here",
    }


def test_it_registers_with_every_nsqlookupd_it_is_told(nsqkit: "Nsqkit", fake: type[_Broker]) -> None:
    assert nsqkit("broker", "--lookupd-tcp-address", "a:1", "--lookupd-tcp-address", "b:2").code == 0
    assert fake.events[0] == DEFAULTS | {"lookupd_tcp_addresses": ["a:1", "b:2"]}


def test_an_embedded_nsqlookupd_is_there_before_it_and_after_it(
    nsqkit: "Nsqkit", fake: type[_Broker]
) -> None:
    assert nsqkit("broker", "--lookupd", "--lookupd-tcp-port", "0", "--lookupd-http-port", "1").code == 0
    lookupd = {"tcp_port": 0, "http_port": 1, "host": "127.0.0.1", "broadcast_address": ""}
    broker = DEFAULTS | {"lookupd_tcp_addresses": ["127.0.0.1:4160"]}
    assert fake.events == [lookupd, "started", broker, "started", "stopped", "stopped"]


def test_it_keeps_its_messages_in_a_folder_that_exists(
    nsqkit: "Nsqkit", fake: type[_Broker], tmp_path: Path
) -> None:
    assert nsqkit("broker", "--data-path", str(tmp_path)).code == 0
    assert fake.events[0] == DEFAULTS | {"data_path": tmp_path}
    assert nsqkit("broker", "--data-path", str(tmp_path / "nope")).code == 2


def test_a_file_that_it_cannot_read_is_wrong_use(
    nsqkit: "Nsqkit", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"nonsense")
    result = nsqkit("broker", "--tcp-port", "0", "--http-port", "0", "--data-path", str(tmp_path))
    assert result.code == 2
    assert result.err.startswith(f"error: data_path={tmp_path}: {FILE_NAME} cannot be read: ")


def test_a_port_in_use_is_wrong_use(
    nsqkit: "Nsqkit", fake: type[_Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "failure", SettingsError("--tcp-port 4150: the port is in use"))
    result = nsqkit("broker")
    assert (result.code, result.err) == (2, "error: --tcp-port 4150: the port is in use\n")

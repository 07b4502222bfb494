import logging
import socket

import pytest

from nsqkit.devbroker import DevLookupd
from nsqkit.errors import SettingsError
from tests.unit.devbroker.lookup_client import NSQD, LookupClient, identify, read
from tests.unit.devbroker.raw_client import http


async def test_an_nsqd_registers_and_is_found_until_it_hangs_up(lookupd: DevLookupd) -> None:
    nsqd = await LookupClient.connect(lookupd.tcp_address)
    assert await nsqd.ask(identify()) is not None
    assert await nsqd.ask(b"REGISTER t c\n") == b"OK"
    answer = await read(lookupd.http_address, "/lookup?topic=t")
    (producer,) = answer["producers"]
    assert producer.pop("remote_address").startswith("127.0.0.1:")
    assert (answer["channels"], producer) == (["c"], NSQD)
    (connection,) = lookupd.connections
    await nsqd.close()
    await connection.closed
    assert await read(lookupd.http_address, "/lookup?topic=t") == {"channels": ["c"], "producers": []}


async def test_an_error_is_sent_before_the_connection_closes(lookupd: DevLookupd) -> None:
    nsqd = await LookupClient.connect(lookupd.tcp_address)
    assert await nsqd.exchange() == [b"E_INVALID invalid command END"]


async def test_stopping_closes_connections_and_frees_the_ports(lookupd: DevLookupd) -> None:
    nsqd = await LookupClient.connect(lookupd.tcp_address)
    assert await nsqd.ask(b"PING\n") == b"OK"
    await lookupd.stop()
    await lookupd.stop()
    assert await nsqd.reply() is None
    await nsqd.close()
    tcp_port, http_port = (
        int(each.rpartition(":")[2]) for each in (lookupd.tcp_address, lookupd.http_address)
    )
    again = DevLookupd(tcp_port, http_port)
    await again.start()
    assert await http(again.http_address, "GET", "/ping") == (200, b"OK")
    await again.stop()


async def test_stopping_before_the_start_does_nothing() -> None:
    await DevLookupd(0, 0).stop()


@pytest.mark.parametrize("name", ["lookupd_tcp_port", "lookupd_http_port"])
async def test_a_port_in_use_is_named(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"lookupd_tcp_port": 0, "lookupd_http_port": 0, name: port}
        with pytest.raises(SettingsError, match=f"^{name}={port}: the port is in use"):
            await DevLookupd(*ports.values()).start()


async def test_one_log_line_says_where_it_listens(caplog: pytest.LogCaptureFixture) -> None:
    lookupd = DevLookupd(0, 0)
    with caplog.at_level(logging.INFO, logger="nsqkit.devbroker"):
        await lookupd.start()
        await lookupd.stop()
    (record,) = [record for record in caplog.records if record.name == "nsqkit.devbroker"]
    assert lookupd.tcp_address in record.message
    assert lookupd.http_address in record.message


async def test_it_tells_others_the_address_it_is_told() -> None:
    lookupd = DevLookupd(0, 0, broadcast_address="lookup.example")
    await lookupd.start()
    assert lookupd.info["broadcast_address"] == "lookup.example"
    await lookupd.stop()

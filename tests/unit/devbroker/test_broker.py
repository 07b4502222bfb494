import logging
import socket
from pathlib import Path

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.limits import Limits
from nsqkit.errors import SettingsError
from tests.unit.devbroker.raw_client import RESPONSE, RawClient, http, pub


async def test_port_zero_is_a_free_port_and_the_addresses_say_which(broker: DevBroker) -> None:
    assert broker.tcp_address.startswith("127.0.0.1:")
    assert broker.http_address.startswith("127.0.0.1:")
    assert not {broker.tcp_address, broker.http_address} & {"127.0.0.1:0"}
    assert await http(broker.http_address, "GET", "/ping") == (200, b"OK")


@pytest.mark.parametrize("name", ["tcp_port", "http_port"])
async def test_a_port_in_use_is_named_by_name(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"tcp_port": 0, "http_port": 0, name: port}
        broker = DevBroker(**ports)
        with pytest.raises(SettingsError, match=f"^{name}={port}: the port is in use on 127.0.0.1; .*0 for"):
            await broker.start()
        await broker.stop()


async def test_a_port_left_by_a_failed_start_is_free_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as freed:
        http_port, tcp_port = taken.getsockname()[1], freed.getsockname()[1]
        freed.close()
        with pytest.raises(SettingsError):
            await DevBroker(tcp_port, http_port).start()
        socket.create_server(("127.0.0.1", tcp_port)).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a..b"])
async def test_a_host_that_is_not_here_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match=f"^tcp_port=0: cannot listen on {host}: "):
        await DevBroker(0, 0, host).start()


@pytest.mark.parametrize("ports", [(-1, 0), (65_536, 0)])
async def test_a_port_that_cannot_be_is_refused(ports: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match=rf"^tcp_port={ports[0]} is not in 0\.\.65535$"):
        DevBroker(*ports)


async def test_a_value_out_of_range_is_refused_when_the_broker_is_made() -> None:
    with pytest.raises(SettingsError, match="msg_timeout_s=0"):
        DevBroker(0, 0, limits=Limits(msg_timeout_s=0))


async def test_an_ipv6_address_is_bracketed() -> None:
    broker = DevBroker(0, 0, "::1")
    try:
        await broker.start()
    except SettingsError as error:
        pytest.skip(str(error))
    assert broker.tcp_address.startswith("[::1]:")
    client = await RawClient.connect(broker.tcp_address)
    assert await client.ask(pub("t", b"x")) == (RESPONSE, b"OK")
    await client.close()
    await broker.stop()


async def test_one_log_line_says_where_it_listens_and_what_it_is_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = DevBroker(0, 0)
    with caplog.at_level(logging.INFO, logger="nsqkit.devbroker"):
        await broker.start()
        await broker.stop()
    (record,) = [record for record in caplog.records if record.name == "nsqkit.devbroker"]
    assert broker.tcp_address in record.message
    assert broker.http_address in record.message
    assert "for development and tests only" in record.message


@pytest.mark.parametrize("is_kept", [False, True], ids=["in memory", "with a data path"])
async def test_what_is_lost_when_it_stops_is_counted(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, *, is_kept: bool
) -> None:
    broker = DevBroker(0, 0, data_path=tmp_path if is_kept else None)
    await broker.start()
    ledger = broker.ledger
    consumer = ledger.subscribe("t", "c", now_s=0.0)
    ledger.publish("t", [b"x"] * 4, timestamp_ns=1, now_s=0.0)
    ledger.publish("t", [b"x"] * 2, timestamp_ns=1, now_s=0.0, defer_s=60.0)
    ledger.publish("without-channel", [b"x"] * 3, timestamp_ns=1, now_s=0.0)
    ledger.ready(consumer, 1)
    assert len(ledger.deliveries(now_s=0.0)) == 1
    await broker.stop()
    lost = [record.message for record in caplog.records if "loses" in record.message]
    counts = "embedded broker stops and loses its messages: 6 queued, 1 in flight, 2 deferred"
    assert lost == ([] if is_kept else [counts])


async def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    await DevBroker(0, 0).stop()
    broker = DevBroker(0, 0)
    await broker.start()
    await broker.stop()
    await broker.stop()


async def test_stopping_closes_clients_and_frees_the_ports() -> None:
    broker = DevBroker(0, 0)
    await broker.start()
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c", ready=1)
    await broker.stop()
    assert await client.frame() is None
    await client.close()
    again = DevBroker(int(broker.tcp_address.rpartition(":")[2]), int(broker.http_address.rpartition(":")[2]))
    await again.start()
    await again.stop()


async def test_limits_are_those_asked_for() -> None:
    limits = Limits(max_msg_bytes=10, msg_timeout_s=2.5, max_msg_timeout_s=5.0, max_req_timeout_s=1.0)
    broker = DevBroker(0, 0, limits=limits)
    await broker.start()
    for option, value in {
        "max_msg_size": b"10",
        "msg_timeout": b"2500000000",
        "max_msg_timeout": b"5000000000",
        "max_req_timeout": b"1000000000",
    }.items():
        assert await http(broker.http_address, "GET", f"/config/{option}") == (200, value)
    await broker.stop()

"""The admin port's server under clients that want to harm it, over real sockets."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from tornado.web import Application, RequestHandler

from nsqkit.admin import http_server
from nsqkit.admin.http_server import BoundedServer
from tests.waiting import PATIENCE_S

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
MIB = 1024 * 1024


class Page(RequestHandler):
    served = 0

    def get(self) -> None:
        type(self).served += 1
        self.write("ok")

    post = get


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def end(self) -> bytes:
        """Return all that comes until the server closes."""
        found = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while chunk := await self._reader.read(65536):
                    found += chunk
        self.writer.close()
        return found

    async def ask(self) -> bytes:
        self.writer.write(GET)
        return await self.end()


class Server:
    def __init__(self) -> None:
        self.http = BoundedServer(Application([("/", Page)], log_function=lambda _: None))
        self.http.listen(0, "127.0.0.1")
        (listening,) = self.http._sockets.values()
        self.port = listening.getsockname()[1]
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def stop(self) -> None:
        self.http.stop()
        await self.http.close_all_connections()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    Page.served = 0
    server = Server()
    yield server
    await server.stop()
    for client in server.clients:
        client.writer.close()


async def test_a_request_is_answered_and_ends_the_connection(server: Server) -> None:
    answer = await (await server.connect()).ask()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"ok")


async def test_bodies_of_100_megabytes_are_not_kept(server: Server) -> None:
    tracemalloc.start()
    heads = (
        POST + b"Content-Length: 104857600\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n6400000\r\n",
        b"GET / HTTP/1.1\r\nX: ",
    )
    for head in heads * 5:
        client = await server.connect()
        client.writer.write(head)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.writer.write(b"x" * MIB)
                await client.writer.drain()
        client.writer.transport.abort()
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 16 * MIB
    assert Page.served == 0


async def test_a_small_body_is_read(server: Server) -> None:
    client = await server.connect()
    client.writer.write(POST + b"Content-Length: 4096\r\n\r\n" + b"x" * 4096)
    assert (await client.end()).startswith(b"HTTP/1.1 200 OK")


async def test_idle_connections_keep_nobody_out(server: Server) -> None:
    """The oldest ones are closed; the file descriptors of the process last."""
    idle = [await server.connect() for _ in range(300)]
    assert (await (await server.connect()).ask()).endswith(b"ok")
    assert [await client.end() for client in idle[:230]] == [b""] * 230
    assert (await idle[-1].ask()).endswith(b"ok")


async def test_requests_behind_the_first_are_not_served(server: Server) -> None:
    client = await server.connect()
    client.writer.write(GET * 100_000)
    await client.end()
    assert Page.served == 1


async def test_a_slow_client_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_CONNECTION_S", 0.05)
    silent, slow = await server.connect(), await server.connect()
    slow.writer.write(POST + b"Content-Length: 100\r\n\r\nx")
    assert [await silent.end(), await slow.end()] == [b"", b""]
    assert Page.served == 0


async def test_stop_closes_every_connection_at_once(server: Server) -> None:
    starts = (b"", b"GET / HT", POST + b"Content-Length: 100\r\n\r\nx", GET * 10_000)
    clients = [await server.connect() for _ in starts]
    await (await server.connect()).ask()  # by now all are accepted
    for client, start in zip(clients, starts, strict=True):
        client.writer.write(start)
    await server.stop()
    assert [await client.end() for client in clients[:3]] == [b""] * 3
    await clients[3].end()
    assert Page.served <= 2

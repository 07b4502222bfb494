"""A scripted HTTP server: what nsqd's and nsqlookupd's HTTP ports answer."""

import asyncio
import json
from typing import Self

Answer = bytes | tuple[int, object]


class FakeHttp:
    """Answers every request alike.

    An answer is raw bytes, or a status and what becomes JSON (bytes stay as they are).
    """

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.requests: list[str] = []
        self.host = host
        self.port = 0
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._clients: list[asyncio.StreamWriter] = []

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_client, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()

    def answer(self, answer: Answer) -> None:
        """Answer requests like this from now on."""
        self._answer = answer

    def hang_up(self) -> None:
        """Close every connection."""
        for client in self._clients:
            client.close()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        request = head.split(b" HTTP/1.1")[0].decode()
        self.requests.append(request)
        answer = self._answer
        if isinstance(answer, tuple):
            status, content = answer
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            answer = f"HTTP/1.1 {status} Word\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        if answer:  # empty: never answers
            writer.write(answer)
            writer.close()

"""An admin port that requires a token, and what a test sends to it byte for byte."""

import asyncio
import contextlib

from nsqkit import Settings
from nsqkit.admin import Access, AdminServer, HandlerState, IntakeState
from nsqkit.telemetry.metrics import Metrics
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import PATIENCE_S

TOKEN = b"s3cret"


class Worker:
    """A worker of one handler, which counts changes."""

    def __init__(self) -> None:
        self.changes = 0

    def faults(self) -> tuple[str, ...]:
        return ()

    def problems(self) -> tuple[str, ...]:
        return ()

    def handler_states(self) -> tuple[HandlerState, ...]:
        return (HandlerState("Reserve", "orders", "inventory", 3, 100, IntakeState.RUNNING),)

    def pause_handler(self, name: str, for_s: float | None) -> bool:
        self.changes += 1
        return name == "Reserve" and for_s is None

    def resume_handler(self, name: str) -> bool:
        self.changes += 1
        return name == "Reserve"


class Port:
    """An admin port that requires a token, and its worker."""

    def __init__(self) -> None:
        self.worker = Worker()
        settings = Settings(admin_token=TOKEN.decode(), admin_hosts=("worker.example.com",))
        access = Access(settings, RecordingLog())
        self.server = AdminServer(Metrics(), self.worker, "127.0.0.1", 0, handlers=self.worker, access=access)
        self.number = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.number)

    async def send(self, *parts: bytes) -> bytes:
        """Return all that the server answers to these bytes until it closes."""
        reader, writer = await self.connect()
        answer = b""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(PATIENCE_S):
                while chunk := await reader.read(65536):
                    answer += chunk
        writer.close()
        return answer

    async def ask(
        self, path: str, *headers: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1"
    ) -> bytes:
        """Return the answer to a request with exactly these headers."""
        line = b" ".join((method, path.encode(), version))
        return await self.send(b"\r\n".join((line, *headers, b"", b"")))

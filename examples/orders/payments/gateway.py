"""Gateway: the HTTP server of another company, a bank. A request can make it fail, slow or unavailable.

Its books are a SQLite file, so that they outlive it. Settings: ``gateway_http`` is its address,
``gateway_file`` its books, ``gateway_failure_ratio`` how it fails at first.
"""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from nsqkit import Settings

LIMIT_CENTS: Final = 20_000
"""The bank declines charges above this amount."""


class Behaviour(BaseModel):
    """How the gateway answers from now on."""

    failure_ratio: Annotated[
        float,
        Field(ge=0, le=1, description="Share of calls that answer 500; half of them have taken effect."),
    ] = 0.0
    delay_s: Annotated[float, Field(ge=0, le=60, description="Seconds before each answer.")] = 0.0
    is_down: Annotated[bool, Field(description="Answer 503 to each call.")] = False


class NewCharge(BaseModel):
    """What to charge."""

    amount_cents: Annotated[int, Field(ge=0)]


class Totals(BaseModel):
    """The sums of the books."""

    charged_cents: int
    refunded_cents: int


class Books:
    """Charges by key, in a file. A key is charged once and refunded once, however often it is asked for.

    Args:
        file: The SQLite file.
    """

    def __init__(self, file: str) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS charges (key TEXT PRIMARY KEY, cents INTEGER, refunded INTEGER)"
        )

    def charge(self, key: str, cents: int) -> bool:
        """Charge once; return False for a key that was refunded before: it is not charged."""
        self._connection.execute("INSERT INTO charges VALUES (?, ?, 0) ON CONFLICT DO NOTHING", (key, cents))
        (refunded,) = self._connection.execute(
            "SELECT refunded FROM charges WHERE key = ?", (key,)
        ).fetchone()
        return not refunded

    def refund(self, key: str) -> None:
        """Give a charge back; a key that is not known yet will not be charged."""
        self._connection.execute(
            "INSERT INTO charges VALUES (?, 0, 1) ON CONFLICT (key) DO UPDATE SET refunded = 1", (key,)
        )

    def totals(self) -> Totals:
        """Return the sums."""
        sums = "SELECT coalesce(sum(cents), 0), coalesce(sum(cents * refunded), 0) FROM charges"
        charged, refunded = self._connection.execute(sums).fetchone()
        return Totals(charged_cents=charged, refunded_cents=refunded)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class Gateway:
    """Answers charges and refunds by its present behaviour.

    Args:
        books: Where it writes.
        behaviour: How it answers at first.
        draw: Draws a number in [0, 1) for each call.
    """

    def __init__(self, books: Books, behaviour: Behaviour, draw: Callable[[], float] = random.random) -> None:
        self.books = books
        self.behaviour = behaviour
        self._draw = draw

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Wait, and fail before or after the effect of the block, with half of the ratio each.

        Raises:
            HTTPException: If the call fails.
        """
        await asyncio.sleep(self.behaviour.delay_s)
        if self.behaviour.is_down:
            raise HTTPException(503, "down")
        drawn, ratio = self._draw(), self.behaviour.failure_ratio
        if drawn < ratio / 2:
            raise HTTPException(500, "failed before the effect")
        yield
        if drawn < ratio:
            raise HTTPException(500, "failed after the effect")

    def charge(self, key: str, cents: int) -> None:
        """Charge a key once.

        Raises:
            HTTPException: If the bank declines.
        """
        if not 0 < cents <= LIMIT_CENTS:
            raise HTTPException(402, "above the limit of the card" if cents else "nothing to charge")
        if not self.books.charge(key, cents):
            raise HTTPException(402, "refunded before")


def create_app(gateway: Gateway) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Payment gateway")

    @app.put("/charges/{key}")
    async def charge(key: str, new: NewCharge) -> dict[str, str]:
        async with gateway.answering():
            gateway.charge(key, new.amount_cents)
        return {"status": "charged"}

    @app.delete("/charges/{key}")
    async def refund(key: str) -> dict[str, str]:
        async with gateway.answering():
            gateway.books.refund(key)
        return {"status": "refunded"}

    @app.get("/totals")
    async def totals() -> Totals:
        return gateway.books.totals()

    @app.put("/behaviour")
    async def behave(wanted: Behaviour) -> Behaviour:
        gateway.behaviour = wanted
        return wanted

    @app.get("/readyz")
    async def ready() -> str:
        return "ready"

    return app


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    settings = Settings.load()
    host, _, port = settings.app_text("gateway_http", "127.0.0.1:8010").rpartition(":")
    ratio = settings.app_number("gateway_failure_ratio", 0.05, minimum=0.0, maximum=1.0)
    books = Books(settings.app_text("gateway_file", "gateway.sqlite"))
    app = create_app(Gateway(books, Behaviour(failure_ratio=ratio)))
    await uvicorn.Server(uvicorn.Config(app, host=host, port=int(port), log_level="warning")).serve()
    books.close()


if __name__ == "__main__":
    asyncio.run(main())

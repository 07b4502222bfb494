"""NSQ's rules on the pure ledger, on the embedded broker over TCP, and on a real nsqd."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.limits import Limits
from nsqkit.testing.contract import LedgerEngine, LimitsContract, NsqContract, WireEngine
from tests.integration.conftest import Server


@asynccontextmanager
async def embedded(broker: DevBroker) -> AsyncIterator[WireEngine]:
    """Run an embedded broker."""
    await broker.start()
    engine = WireEngine(broker.tcp_address, broker.http_address)
    yield engine
    await engine.close()
    await broker.stop()


class TestLedger(NsqContract):
    """The pure state machine, on a clock that is moved by hand."""

    @pytest.fixture
    def engine(self) -> LedgerEngine:
        return LedgerEngine()


class TestEmbedded(NsqContract):
    """The embedded broker, over TCP and HTTP."""

    @pytest.fixture
    async def engine(self) -> AsyncIterator[WireEngine]:
        async with embedded(DevBroker(tcp_port=0, http_port=0)) as engine:
            yield engine


@pytest.mark.nsqd
class TestNsqd(NsqContract):
    """A real nsqd."""

    @pytest.fixture
    async def engine(self, quick_nsqd: Server) -> AsyncIterator[WireEngine]:
        engine = WireEngine(quick_nsqd.tcp_address, quick_nsqd.http_address)
        yield engine
        await engine.close()


MAX_MSG_TIMEOUT_S = LimitsContract.MAX_MSG_TIMEOUT_MS / 1000
MAX_REQ_TIMEOUT_S = LimitsContract.MAX_REQ_TIMEOUT_MS / 1000


class TestLedgerLimits(LimitsContract):
    """The pure state machine, with low limits."""

    @pytest.fixture
    def engine(self) -> LedgerEngine:
        limits = Limits(
            msg_timeout_s=1.0, max_msg_timeout_s=MAX_MSG_TIMEOUT_S, max_req_timeout_s=MAX_REQ_TIMEOUT_S
        )
        return LedgerEngine(limits)


class TestEmbeddedLimits(LimitsContract):
    """The embedded broker, with low limits."""

    @pytest.fixture
    async def engine(self) -> AsyncIterator[WireEngine]:
        limits = Limits(
            msg_timeout_s=1.0, max_msg_timeout_s=MAX_MSG_TIMEOUT_S, max_req_timeout_s=MAX_REQ_TIMEOUT_S
        )
        async with embedded(DevBroker(tcp_port=0, http_port=0, limits=limits)) as engine:
            yield engine


@pytest.mark.nsqd
class TestNsqdLimits(LimitsContract):
    """A real nsqd, with low limits."""

    @pytest.fixture
    async def engine(self, limited_nsqd: Server) -> AsyncIterator[WireEngine]:
        engine = WireEngine(limited_nsqd.tcp_address, limited_nsqd.http_address)
        yield engine
        await engine.close()

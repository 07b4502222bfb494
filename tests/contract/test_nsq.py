"""NSQ's rules on the pure ledger, on the embedded broker over TCP, and on a real nsqd."""

from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.testing.contract import LedgerEngine, NsqContract, WireEngine
from tests.integration.conftest import Server


class TestLedger(NsqContract):
    """The pure state machine, on a clock that is moved by hand."""

    @pytest.fixture
    def engine(self) -> LedgerEngine:
        return LedgerEngine()


class TestEmbedded(NsqContract):
    """The embedded broker, over TCP and HTTP."""

    @pytest.fixture
    async def engine(self) -> AsyncIterator[WireEngine]:
        broker = DevBroker(tcp_port=0, http_port=0)
        await broker.start()
        engine = WireEngine(broker.tcp_address, broker.http_address)
        yield engine
        await engine.close()
        await broker.stop()


@pytest.mark.nsqd
class TestNsqd(NsqContract):
    """A real nsqd."""

    @pytest.fixture
    async def engine(self, quick_nsqd: Server) -> AsyncIterator[WireEngine]:
        engine = WireEngine(quick_nsqd.tcp_address, quick_nsqd.http_address)
        yield engine
        await engine.close()

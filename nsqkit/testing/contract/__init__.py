"""The contract suite: NSQ's rules as tests, for the ledger, the embedded broker, a real nsqd or your own.

Derive a test class from ``NsqContract``, another from ``LimitsContract``, and give each a fixture
``engine``::

    class TestMyBroker(NsqContract):
        @pytest.fixture
        async def engine(self) -> AsyncIterator[Engine]:
            yield WireEngine("127.0.0.1:4150", "127.0.0.1:4151")
"""

from nsqkit.testing.contract.engine import Capability, Counts, Engine, Received, Subscriber
from nsqkit.testing.contract.ledger_engine import LedgerEngine
from nsqkit.testing.contract.limit_rules import LimitsContract
from nsqkit.testing.contract.suite import NsqContract
from nsqkit.testing.contract.wire_engine import WireEngine

__all__ = [
    "Capability",
    "Counts",
    "Engine",
    "LedgerEngine",
    "LimitsContract",
    "NsqContract",
    "Received",
    "Subscriber",
    "WireEngine",
]

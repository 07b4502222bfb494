"""An embedded broker that speaks nsqd's and nsqlookupd's protocols, for development and tests only.

``ledger``, ``lookupd_registry`` and what they import are pure; the servers around them own the sockets.
"""

from nsqkit.devbroker.broker import DevBroker
from nsqkit.devbroker.lookupd import DevLookupd

__all__ = ["DevBroker", "DevLookupd"]

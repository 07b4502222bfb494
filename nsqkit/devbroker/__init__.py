"""An embedded broker that speaks nsqd's protocols, for development and tests only.

``ledger`` and what it stands on are pure; ``server`` and ``http`` are the sockets around it.
"""

from nsqkit.devbroker.broker import DevBroker

__all__ = ["DevBroker"]

"""What the contract's rules have in common: a topic for each, subscribing, and the counts of its channel."""

import secrets

import pytest

from nsqkit.testing.contract.engine import Capability, Counts, Engine, Subscriber

SHORT_MS = 1000
"""The shortest message timeout that nsqd grants."""
DELAY_MS = 200
"""A delay that is long enough to notice."""


class Rules:
    """A group of rules. Each test is one rule, and its name states it."""

    @pytest.fixture
    def topic(self) -> str:
        """Return the name of a topic that no other test uses."""
        return f"contract-{secrets.token_hex(6)}"


def require(engine: Engine, capability: Capability) -> None:
    """Skip the test if the engine lacks a capability."""
    if capability not in engine.capabilities:
        pytest.skip(f"this engine lacks: {capability}")


async def subscribe(
    engine: Engine, topic: str, channel: str, *, ready: int = 1, msg_timeout_ms: int = 60_000
) -> Subscriber:
    """Return a new subscriber that takes *ready* messages at a time."""
    subscriber = await engine.subscribe(topic, channel, msg_timeout_ms=msg_timeout_ms)
    await subscriber.ready(ready)
    return subscriber


async def counts(engine: Engine, topic: str) -> Counts:
    """Return the counts of the channel ``c``, which must exist."""
    found = await engine.counts(topic, "c")
    assert found is not None
    return found

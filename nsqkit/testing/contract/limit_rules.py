"""Rules of nsqd's limits, for an engine with low ones."""

from nsqkit.testing.contract.engine import Engine
from nsqkit.testing.contract.rules import SHORT_MS, Rules, counts, subscribe


class LimitsContract(Rules):
    """Rules of nsqd's limits; the fixture ``engine`` yields one with the two limits below."""

    MAX_MSG_TIMEOUT_MS = 2000
    """The max-msg-timeout that the engine must have."""
    MAX_REQ_TIMEOUT_MS = 500
    """The max-req-timeout that the engine must have."""

    async def test_touch_keeps_a_message_no_longer_than_the_limit(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        held = await reader.receive()
        for _ in range(3):
            await engine.pass_ms(self.MAX_MSG_TIMEOUT_MS // 4)
            await reader.touch(held)
        assert await reader.refusals() == []
        await engine.pass_ms(self.MAX_MSG_TIMEOUT_MS // 4)
        assert (await reader.receive()).attempts == 2
        assert (await counts(engine, topic)).timeout == 1

    async def test_a_longer_requeue_delay_is_cut_to_the_limit(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        await reader.requeue(await reader.receive(), 3_600_000)
        assert await reader.refusals() == []
        assert await reader.receives_nothing()
        await engine.pass_ms(self.MAX_REQ_TIMEOUT_MS)
        assert (await reader.receive()).attempts == 2

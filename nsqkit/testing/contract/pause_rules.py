"""Rules of publishing together, pausing and emptying."""

from nsqkit.testing.contract.engine import Counts, Engine
from nsqkit.testing.contract.rules import Rules, counts, subscribe


class PauseRules(Rules):
    """Rules of MPUB, pausing and emptying."""

    async def test_one_consumer_gets_messages_published_together(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c", ready=100)
        bodies = [b"%d" % number for number in range(50)]
        await engine.publish(topic, *bodies)
        assert {(await reader.receive()).body for _ in bodies} == set(bodies)

    async def test_a_paused_channel_delivers_nothing_and_accepts_answers(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        held = await reader.receive()
        await engine.pause(topic, "c")
        await reader.finish(held)
        assert await reader.receives_nothing()
        await engine.unpause(topic, "c")
        await reader.finish(await reader.receive())
        assert await counts(engine, topic) == Counts(0, 0, 0, 2, 0, 0)

    async def test_a_paused_topic_gives_its_channels_nothing(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.pause(topic)
        await engine.publish(topic, b"m")
        assert await reader.receives_nothing()
        assert await engine.topic_depth(topic) == 1
        await engine.unpause(topic)
        assert (await reader.receive()).body == b"m"

    async def test_emptying_a_channel_drops_queued_and_deferred_messages(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        await reader.requeue(await reader.receive(), 60_000)
        await reader.ready(0)
        await engine.empty(topic, "c")
        left = await counts(engine, topic)
        assert (left.depth, left.deferred) == (0, 0)

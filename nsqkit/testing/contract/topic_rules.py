"""Rules of topics and channels: which channel gets a copy of which message."""

from nsqkit.testing.contract.engine import Engine
from nsqkit.testing.contract.rules import DELAY_MS, Rules, subscribe


class TopicRules(Rules):
    """Rules of topics and channels."""

    async def test_every_channel_gets_a_copy_with_the_same_id_and_time(
        self, engine: Engine, topic: str
    ) -> None:
        one, other = await subscribe(engine, topic, "one"), await subscribe(engine, topic, "other")
        await engine.publish(topic, b"m")
        first, second = await one.receive(), await other.receive()
        assert (first.id, first.timestamp_ns, first.body) == (second.id, second.timestamp_ns, second.body)

    async def test_each_channel_counts_its_own_attempts(self, engine: Engine, topic: str) -> None:
        one, other = await subscribe(engine, topic, "one"), await subscribe(engine, topic, "other")
        await engine.publish(topic, b"m")
        await one.requeue(await one.receive(), 0)
        assert (await one.receive()).attempts == 2
        assert (await other.receive()).attempts == 1

    async def test_a_topics_first_channel_takes_its_whole_backlog(self, engine: Engine, topic: str) -> None:
        await engine.publish(topic, b"1", b"2", b"3")
        assert await engine.topic_depth(topic) == 3
        one = await subscribe(engine, topic, "one", ready=10)
        assert {(await one.receive()).body for _ in range(3)} == {b"1", b"2", b"3"}
        assert await engine.topic_depth(topic) == 0

    async def test_a_later_channel_gets_only_later_messages(self, engine: Engine, topic: str) -> None:
        await engine.publish(topic, b"early")
        one = await subscribe(engine, topic, "one")
        await one.receive()
        late = await subscribe(engine, topic, "late")
        await engine.publish(topic, b"later")
        assert (await late.receive()).body == b"later"

    async def test_messages_wait_on_a_channel_without_consumers(self, engine: Engine, topic: str) -> None:
        await engine.create_channel(topic, "c")
        await engine.publish(topic, b"m")
        reader = await subscribe(engine, topic, "c")
        assert (await reader.receive()).body == b"m"

    async def test_one_message_goes_to_one_consumer_of_a_channel(self, engine: Engine, topic: str) -> None:
        readers = [await subscribe(engine, topic, "c", ready=10) for _ in range(2)]
        await engine.publish(topic, b"m")
        assert [await reader.receives_nothing() for reader in readers].count(False) == 1

    async def test_an_ephemeral_channel_goes_with_its_last_consumer(self, engine: Engine, topic: str) -> None:
        await engine.create_channel(topic, "durable")
        reader = await engine.subscribe(topic, "brief#ephemeral")
        assert await engine.counts(topic, "brief#ephemeral") is not None
        await reader.disconnect()
        await engine.pass_ms(DELAY_MS)
        assert await engine.counts(topic, "brief#ephemeral") is None
        assert await engine.counts(topic, "durable") is not None

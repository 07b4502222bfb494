"""Rules of deliveries: how many are in flight, and what happens to those of a consumer that leaves."""

from nsqkit.testing.contract.engine import Counts, Engine
from nsqkit.testing.contract.rules import Rules, counts, subscribe


class DeliveryRules(Rules):
    """Rules of RDY, CLS and messages in flight."""

    async def test_nothing_is_delivered_before_ready(self, engine: Engine, topic: str) -> None:
        reader = await engine.subscribe(topic, "c")
        await engine.publish(topic, b"m")
        assert await reader.receives_nothing()
        await reader.ready(1)
        assert (await reader.receive()).body == b"m"

    async def test_ready_bounds_the_messages_in_flight(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c", ready=2)
        await engine.publish(topic, b"1", b"2", b"3")
        held = [await reader.receive(), await reader.receive()]
        assert await reader.receives_nothing()
        await reader.finish(held[0])
        await reader.receive()

    async def test_ready_0_stops_deliveries_and_keeps_messages_in_flight(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        held = await reader.receive()
        await reader.ready(0)
        await reader.finish(held)
        assert await reader.receives_nothing()
        assert await reader.refusals() == []
        assert await counts(engine, topic) == Counts(1, 0, 0, 2, 0, 0)

    async def test_after_cls_nothing_arrives_and_messages_in_flight_can_be_answered(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c", ready=2)
        await engine.publish(topic, b"1", b"2")
        first, second = await reader.receive(), await reader.receive()
        await reader.stop()
        await engine.publish(topic, b"3")
        await reader.finish(first)
        await reader.requeue(second, 0)
        assert await reader.receives_nothing()
        assert await reader.refusals() == []
        assert await counts(engine, topic) == Counts(2, 0, 0, 3, 1, 0)

    async def test_messages_of_a_lost_consumer_are_not_requeued_at_once(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.receive()
        await reader.disconnect()
        other = await subscribe(engine, topic, "c")
        assert await other.receives_nothing()
        assert (await counts(engine, topic)).in_flight == 1

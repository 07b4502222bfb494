"""Rules of answers: FIN, REQ and TOUCH, and the timeout of a message without one."""

import pytest

from nsqkit.testing.contract.engine import Counts, Engine
from nsqkit.testing.contract.rules import DELAY_MS, SHORT_MS, Rules, counts, subscribe


class AnswerRules(Rules):
    """Rules of FIN, REQ, TOUCH and timeouts."""

    async def test_finish_ends_a_message(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.finish(await reader.receive())
        assert await reader.receives_nothing()
        assert await counts(engine, topic) == Counts(0, 0, 0, 1, 0, 0)

    async def test_attempts_count_deliveries_from_1(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        for attempts in (1, 2, 3):
            received = await reader.receive()
            assert received.attempts == attempts
            await reader.requeue(received, 0)

    async def test_a_requeued_message_keeps_its_id_time_and_body(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        first = await reader.receive()
        await reader.requeue(first, 0)
        again = await reader.receive()
        assert (again.id, again.timestamp_ns, again.body) == (first.id, first.timestamp_ns, first.body)

    async def test_a_requeue_is_counted_and_adds_no_message(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.requeue(await reader.receive(), 0)
        await reader.finish(await reader.receive())
        assert await counts(engine, topic) == Counts(0, 0, 0, 1, 1, 0)

    async def test_a_delayed_requeue_is_deferred_for_its_delay(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.requeue(await reader.receive(), DELAY_MS * 5)
        assert (await counts(engine, topic)).deferred == 1
        assert await reader.receives_nothing()
        await engine.pass_ms(DELAY_MS * 5)
        assert (await reader.receive()).attempts == 2

    @pytest.mark.parametrize("answer", ["finish", "requeue", "touch"])
    async def test_an_answer_to_a_message_not_in_flight_is_refused_and_changes_nothing(
        self, engine: Engine, topic: str, answer: str
    ) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        done = await reader.receive()
        await reader.finish(done)
        await (reader.requeue(done, 0) if answer == "requeue" else getattr(reader, answer)(done))
        assert await reader.refusals() == [{"finish": "FIN", "requeue": "REQ", "touch": "TOUCH"}[answer]]
        await reader.finish(await reader.receive())
        assert await counts(engine, topic) == Counts(0, 0, 0, 2, 0, 0)

    async def test_a_consumer_cannot_answer_for_another(self, engine: Engine, topic: str) -> None:
        owner = await subscribe(engine, topic, "c")
        await engine.publish(topic, b"m")
        held = await owner.receive()
        other = await engine.subscribe(topic, "c")
        await other.finish(held)
        assert await other.refusals() == ["FIN"]
        await owner.finish(held)
        assert await owner.refusals() == []

    async def test_an_unanswered_message_is_delivered_again_after_its_timeout(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        first = await reader.receive()
        assert await reader.receives_nothing()
        await engine.pass_ms(SHORT_MS)
        again = await reader.receive()
        assert (again.id, again.attempts) == (first.id, 2)
        assert await counts(engine, topic) == Counts(0, 1, 0, 1, 0, 1)

    async def test_touch_restarts_the_timeout(self, engine: Engine, topic: str) -> None:
        reader = await subscribe(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        held = await reader.receive()
        for _ in range(3):
            await engine.pass_ms(SHORT_MS // 2)
            await reader.touch(held)
        assert await reader.receives_nothing()
        await reader.finish(held)
        assert await reader.refusals() == []
        assert await counts(engine, topic) == Counts(0, 0, 0, 1, 0, 0)

    async def test_a_deferred_publish_is_not_delivered_before_its_time(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await subscribe(engine, topic, "c")
        await engine.publish_deferred(topic, b"m", DELAY_MS * 5)
        assert await reader.receives_nothing()
        await engine.pass_ms(DELAY_MS * 5)
        assert (await reader.receive()).attempts == 1

"""The rules of NSQ that consumers rely on; each test is one rule, and its name states it.

Outside the contract: which of several consumers is served, message ids, sampling, compression, and
how exactly a timer fires. Timer rules say 'not before', and that it comes at all.
"""

import json
import secrets

import pytest

from nsqkit.testing.contract.engine import Capability, Counts, Engine, Subscriber

SHORT_MS = 1000
"""The shortest message timeout that nsqd grants."""
DELAY_MS = 200


class NsqContract:
    """The suite; derive from it and define the fixture ``engine``."""

    @pytest.fixture
    def topic(self) -> str:
        """Return the name of a topic that no other test uses."""
        return f"contract-{secrets.token_hex(6)}"

    # -- topics and channels

    async def test_every_channel_gets_a_copy_with_the_same_id_and_time(
        self, engine: Engine, topic: str
    ) -> None:
        one, other = await _reading(engine, topic, "one"), await _reading(engine, topic, "other")
        await engine.publish(topic, b"m")
        first, second = await one.receive(), await other.receive()
        assert (first.id, first.timestamp_ns, first.body) == (second.id, second.timestamp_ns, second.body)

    async def test_each_channel_counts_its_own_attempts(self, engine: Engine, topic: str) -> None:
        one, other = await _reading(engine, topic, "one"), await _reading(engine, topic, "other")
        await engine.publish(topic, b"m")
        await one.requeue(await one.receive(), 0)
        assert (await one.receive()).attempts == 2
        assert (await other.receive()).attempts == 1

    async def test_a_topics_first_channel_takes_its_whole_backlog(self, engine: Engine, topic: str) -> None:
        await engine.publish(topic, b"1", b"2", b"3")
        assert await engine.topic_depth(topic) == 3
        one = await _reading(engine, topic, "one", ready=10)
        assert {(await one.receive()).body for _ in range(3)} == {b"1", b"2", b"3"}
        assert await engine.topic_depth(topic) == 0

    async def test_a_later_channel_gets_only_what_comes_later(self, engine: Engine, topic: str) -> None:
        await engine.publish(topic, b"early")
        one = await _reading(engine, topic, "one")
        await one.receive()
        late = await _reading(engine, topic, "late")
        await engine.publish(topic, b"later")
        assert (await late.receive()).body == b"later"

    async def test_messages_wait_on_a_channel_without_consumers(self, engine: Engine, topic: str) -> None:
        await engine.create_channel(topic, "c")
        await engine.publish(topic, b"m")
        reader = await _reading(engine, topic, "c")
        assert (await reader.receive()).body == b"m"

    async def test_one_message_goes_to_one_consumer_of_a_channel(self, engine: Engine, topic: str) -> None:
        readers = [await _reading(engine, topic, "c", ready=10) for _ in range(2)]
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

    # -- RDY and in flight

    async def test_nothing_is_delivered_before_ready(self, engine: Engine, topic: str) -> None:
        reader = await engine.subscribe(topic, "c")
        await engine.publish(topic, b"m")
        assert await reader.receives_nothing()
        await reader.ready(1)
        assert (await reader.receive()).body == b"m"

    async def test_ready_bounds_what_is_in_flight(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c", ready=2)
        await engine.publish(topic, b"1", b"2", b"3")
        held = [await reader.receive(), await reader.receive()]
        assert await reader.receives_nothing()
        await reader.finish(held[0])
        await reader.receive()

    async def test_ready_0_stops_deliveries_and_leaves_what_is_held(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        held = await reader.receive()
        await reader.ready(0)
        await reader.finish(held)
        assert await reader.receives_nothing()
        assert await reader.refusals() == []
        assert await _counts(engine, topic) == Counts(1, 0, 0, 2, 0, 0)

    async def test_after_cls_nothing_comes_and_what_is_held_can_be_answered(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await _reading(engine, topic, "c", ready=2)
        await engine.publish(topic, b"1", b"2")
        first, second = await reader.receive(), await reader.receive()
        await reader.stop()
        await engine.publish(topic, b"3")
        await reader.finish(first)
        await reader.requeue(second, 0)
        assert await reader.receives_nothing()
        assert await reader.refusals() == []
        assert await _counts(engine, topic) == Counts(2, 0, 0, 3, 1, 0)

    async def test_what_a_lost_consumer_held_is_not_requeued_at_once(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.receive()
        await reader.disconnect()
        other = await _reading(engine, topic, "c")
        assert await other.receives_nothing()
        assert (await _counts(engine, topic)).in_flight == 1

    # -- answers

    async def test_finish_ends_a_message(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.finish(await reader.receive())
        assert await reader.receives_nothing()
        assert await _counts(engine, topic) == Counts(0, 0, 0, 1, 0, 0)

    async def test_attempts_count_deliveries_from_1(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        for attempts in (1, 2, 3):
            received = await reader.receive()
            assert received.attempts == attempts
            await reader.requeue(received, 0)

    async def test_a_requeued_message_keeps_its_id_time_and_body(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        first = await reader.receive()
        await reader.requeue(first, 0)
        again = await reader.receive()
        assert (again.id, again.timestamp_ns, again.body) == (first.id, first.timestamp_ns, first.body)

    async def test_a_requeue_is_counted_and_so_is_no_new_message(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.requeue(await reader.receive(), 0)
        await reader.finish(await reader.receive())
        assert await _counts(engine, topic) == Counts(0, 0, 0, 1, 1, 0)

    async def test_a_delayed_requeue_is_deferred_until_then(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        await reader.requeue(await reader.receive(), DELAY_MS * 5)
        assert (await _counts(engine, topic)).deferred == 1
        assert await reader.receives_nothing()
        await engine.pass_ms(DELAY_MS * 5)
        assert (await reader.receive()).attempts == 2

    @pytest.mark.parametrize("answer", ["finish", "requeue", "touch"])
    async def test_an_answer_to_a_message_that_is_not_held_is_refused_and_harms_nothing(
        self, engine: Engine, topic: str, answer: str
    ) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        done = await reader.receive()
        await reader.finish(done)
        await (reader.requeue(done, 0) if answer == "requeue" else getattr(reader, answer)(done))
        assert await reader.refusals() == [{"finish": "FIN", "requeue": "REQ", "touch": "TOUCH"}[answer]]
        await reader.finish(await reader.receive())
        assert await _counts(engine, topic) == Counts(0, 0, 0, 2, 0, 0)

    async def test_nobody_can_answer_for_another_consumer(self, engine: Engine, topic: str) -> None:
        owner = await _reading(engine, topic, "c")
        await engine.publish(topic, b"m")
        held = await owner.receive()
        other = await engine.subscribe(topic, "c")
        await other.finish(held)
        assert await other.refusals() == ["FIN"]
        await owner.finish(held)
        assert await owner.refusals() == []

    # -- time

    async def test_an_unanswered_message_comes_again_after_its_timeout(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await _reading(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        first = await reader.receive()
        assert await reader.receives_nothing()
        await engine.pass_ms(SHORT_MS)
        again = await reader.receive()
        assert (again.id, again.attempts) == (first.id, 2)
        assert await _counts(engine, topic) == Counts(0, 1, 0, 1, 0, 1)

    async def test_touch_starts_the_timeout_anew(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        held = await reader.receive()
        for _ in range(3):
            await engine.pass_ms(SHORT_MS // 2)
            await reader.touch(held)
        assert await reader.receives_nothing()
        await reader.finish(held)
        assert await reader.refusals() == []
        assert await _counts(engine, topic) == Counts(0, 0, 0, 1, 0, 0)

    async def test_a_deferred_publish_is_delivered_not_before_its_time(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish_deferred(topic, b"m", DELAY_MS * 5)
        assert await reader.receives_nothing()
        await engine.pass_ms(DELAY_MS * 5)
        assert (await reader.receive()).attempts == 1

    # -- publishing, pausing, emptying

    async def test_one_consumer_gets_what_is_published_together(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c", ready=100)
        bodies = [b"%d" % number for number in range(50)]
        await engine.publish(topic, *bodies)
        assert {(await reader.receive()).body for _ in bodies} == set(bodies)

    async def test_a_paused_channel_delivers_nothing_and_takes_answers(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        held = await reader.receive()
        await engine.pause(topic, "c")
        await reader.finish(held)
        assert await reader.receives_nothing()
        await engine.unpause(topic, "c")
        await reader.finish(await reader.receive())
        assert await _counts(engine, topic) == Counts(0, 0, 0, 2, 0, 0)

    async def test_a_paused_topic_gives_its_channels_nothing(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.pause(topic)
        await engine.publish(topic, b"m")
        assert await reader.receives_nothing()
        assert await engine.topic_depth(topic) == 1
        await engine.unpause(topic)
        assert (await reader.receive()).body == b"m"

    async def test_emptying_a_channel_drops_what_is_queued_and_deferred(
        self, engine: Engine, topic: str
    ) -> None:
        reader = await _reading(engine, topic, "c")
        await engine.publish(topic, b"1", b"2")
        await reader.requeue(await reader.receive(), 60_000)
        await reader.ready(0)
        await engine.empty(topic, "c")
        counts = await _counts(engine, topic)
        assert (counts.depth, counts.deferred) == (0, 0)

    # -- the wire

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            pytest.param(b"  V9", b"E_BAD_PROTOCOL", id="magic"),
            pytest.param(b"  V2NONSENSE\n", b"E_INVALID", id="command"),
            pytest.param(b"  V2SUB a\n", b"E_INVALID", id="parameters"),
            pytest.param(b"  V2RDY 1\n", b"E_INVALID", id="state"),
            pytest.param(b"  V2SUB a* c\n", b"E_BAD_TOPIC", id="topic"),
            pytest.param(b"  V2SUB contract c*\n", b"E_BAD_CHANNEL", id="channel"),
            pytest.param(b"  V2PUB contract\n\0\0\0\0", b"E_BAD_MESSAGE", id="empty body"),
            pytest.param(b"  V2PUB contract\n\x7f\0\0\0", b"E_BAD_MESSAGE", id="body size"),
            pytest.param(b"  V2IDENTIFY\n\0\0\0\x01{", b"E_BAD_BODY", id="IDENTIFY"),
            pytest.param(b"  V2AUTH\n\0\0\0\x01x", b"E_AUTH_DISABLED", id="AUTH"),
            pytest.param(b"  V2DPUB contract 3600001\n\0\0\0\x01x", b"E_INVALID", id="deferral"),
        ],
    )
    async def test_a_mistake_is_answered_with_its_code_and_the_connection_is_closed(
        self, engine: Engine, said: bytes, code: bytes
    ) -> None:
        _needs(engine, Capability.WIRE)
        frames, closed = await engine.exchange(said)
        assert [frame.split()[0] for frame in frames] == [code]
        assert closed

    async def test_identify_answers_with_what_was_granted(self, engine: Engine) -> None:
        _needs(engine, Capability.WIRE)
        wish = b'{"feature_negotiation":true,"heartbeat_interval":1000,"msg_timeout":2000}'
        frames, closed = await engine.exchange(b"  V2IDENTIFY\n" + len(wish).to_bytes(4, "big") + wish)
        granted = json.loads(frames[0])
        assert not closed
        assert (granted["msg_timeout"], granted["max_rdy_count"]) == (2000, 2500)
        assert not any(granted[name] for name in ("tls_v1", "snappy", "deflate", "auth_required"))


class LimitsContract:
    """Rules of nsqd's limits; the fixture ``engine`` gives one with the two limits below."""

    MAX_MSG_TIMEOUT_MS = 2000
    """What the engine's max-msg-timeout must be."""
    MAX_REQ_TIMEOUT_MS = 500
    """What the engine's max-req-timeout must be."""

    @pytest.fixture
    def topic(self) -> str:
        """Return the name of a topic that no other test uses."""
        return f"contract-{secrets.token_hex(6)}"

    async def test_touch_keeps_a_message_no_longer_than_the_limit(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        held = await reader.receive()
        for _ in range(3):
            await engine.pass_ms(self.MAX_MSG_TIMEOUT_MS // 4)
            await reader.touch(held)
        assert await reader.refusals() == []
        await engine.pass_ms(self.MAX_MSG_TIMEOUT_MS // 4)
        assert (await reader.receive()).attempts == 2
        assert (await _counts(engine, topic)).timeout == 1

    async def test_a_longer_requeue_delay_is_cut_to_the_limit(self, engine: Engine, topic: str) -> None:
        reader = await _reading(engine, topic, "c", msg_timeout_ms=SHORT_MS)
        await engine.publish(topic, b"m")
        await reader.requeue(await reader.receive(), 3_600_000)
        assert await reader.refusals() == []
        assert await reader.receives_nothing()
        await engine.pass_ms(self.MAX_REQ_TIMEOUT_MS)
        assert (await reader.receive()).attempts == 2


def _needs(engine: Engine, capability: Capability) -> None:
    if capability not in engine.capabilities:
        pytest.skip(f"this engine has not: {capability}")


async def _reading(
    engine: Engine, topic: str, channel: str, *, ready: int = 1, msg_timeout_ms: int = 60_000
) -> Subscriber:
    subscriber = await engine.subscribe(topic, channel, msg_timeout_ms=msg_timeout_ms)
    await subscriber.ready(ready)
    return subscriber


async def _counts(engine: Engine, topic: str) -> Counts:
    counts = await engine.counts(topic, "c")
    assert counts is not None
    return counts

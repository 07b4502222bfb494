"""A broker that speaks NSQ over TCP and HTTP as an engine: the embedded one, or a real nsqd."""

import asyncio
import contextlib
from typing import Any

from nsqkit.nsq import Connection, ConnectionOptions, Message, NsqdHttp, NsqdPublisher
from nsqkit.nsq.http import fetch
from nsqkit.nsq.message import one_by_one
from nsqkit.policy.address import split_address
from nsqkit.testing.contract.engine import Capability, Counts, Received

_BARRIER = b"PUB contract-barrier#ephemeral\n\x00\x00\x00\x04read"
PATIENCE_S = 20.0
"""How long to wait for an answer that must come; only a failing test waits that long."""
SILENCE_S = 0.15
"""How long to wait for a message that must not come, since its absence cannot be awaited."""


class WireEngine:
    """A running broker; the suite uses its own topics.

    Args:
        tcp_address: ``host:port`` of its TCP port.
        http_address: ``host:port`` of its HTTP port.
    """

    capabilities = frozenset(Capability)

    def __init__(self, tcp_address: str, http_address: str) -> None:
        self.tcp_address = tcp_address
        self.http_address = http_address
        self._publisher = NsqdPublisher(tcp_address, ConnectionOptions())
        self._http = NsqdHttp(http_address)
        self._subscribers: list[WireSubscriber] = []

    async def close(self) -> None:
        """Disconnect everything."""
        for subscriber in self._subscribers:
            await subscriber.disconnect()
        await self._publisher.close()

    async def publish(self, topic: str, *bodies: bytes) -> None:
        """MPUB, and await its OK."""
        await self._publisher.publish_many(topic, bodies)

    async def publish_deferred(self, topic: str, body: bytes, delay_ms: int) -> None:
        """DPUB, and await its OK."""
        await self._publisher.publish(topic, body, defer_s=delay_ms / 1000)

    async def create_channel(self, topic: str, channel: str) -> None:
        """Create a topic and a channel, unless they exist."""
        await self._http.create_channel(topic, channel)

    async def subscribe(self, topic: str, channel: str, *, msg_timeout_ms: int = 60_000) -> "WireSubscriber":
        """Subscribe on a new connection."""
        subscriber = WireSubscriber(self.tcp_address, msg_timeout_ms)
        self._subscribers.append(subscriber)
        await subscriber.subscribe(topic, channel)
        return subscriber

    async def pause(self, topic: str, channel: str | None = None) -> None:
        """Pause a channel, or a whole topic."""
        await self._change("pause", topic, channel)

    async def unpause(self, topic: str, channel: str | None = None) -> None:
        """End a pause."""
        await self._change("unpause", topic, channel)

    async def empty(self, topic: str, channel: str) -> None:
        """Drop all messages of a channel."""
        await self._change("empty", topic, channel)

    async def counts(self, topic: str, channel: str) -> Counts | None:
        """Return the counts of a channel from ``/stats``; None if it does not exist."""
        found = [each for each in await self._channels(topic) if each["channel_name"] == channel]
        if not found:
            return None
        names = ("in_flight", "deferred", "message", "requeue", "timeout")
        values = {name: found[0][f"{name}_count"] for name in names}
        return Counts(depth=found[0]["depth"], **values)

    async def topic_depth(self, topic: str) -> int | None:
        """Return the depth of a topic itself, without its channels; None if it does not exist."""
        known = await self._topics(topic)
        return int(known[0]["depth"]) if known else None

    async def pass_ms(self, milliseconds: int) -> None:
        """Wait for this time."""
        await asyncio.sleep(milliseconds / 1000)

    async def exchange(self, said: bytes) -> tuple[list[bytes], bool]:
        """Send bytes, and read frames until the broker closes or sends nothing more."""
        host, port = split_address(self.tcp_address)
        reader, writer = await asyncio.open_connection(host, port)
        frames: list[bytes] = []
        try:
            writer.write(said)
            while True:
                patience_s = SILENCE_S if frames else PATIENCE_S
                size = int.from_bytes(await asyncio.wait_for(reader.readexactly(4), patience_s), "big")
                frames.append((await reader.readexactly(size))[4:])
        except TimeoutError:
            return frames, False
        except (asyncio.IncompleteReadError, ConnectionError):
            return frames, True
        finally:
            writer.close()

    async def _change(self, what: str, topic: str, channel: str | None) -> None:
        kind = "topic" if channel is None else "channel"
        named = {} if channel is None else {"channel": channel}
        await fetch(self.http_address, f"/{kind}/{what}", method="POST", timeout_s=2.0, topic=topic, **named)

    async def _topics(self, topic: str) -> list[dict[str, Any]]:
        answer: Any = await self._http.stats(topic)
        return list(answer["topics"] or ())

    async def _channels(self, topic: str) -> list[dict[str, Any]]:
        return [channel for each in await self._topics(topic) for channel in each["channels"]]


class WireSubscriber:
    """One TCP connection, subscribed."""

    def __init__(self, address: str, msg_timeout_ms: int) -> None:
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self._refused: list[str] = []
        self._connection = Connection(
            address,
            ConnectionOptions(msg_timeout_s=msg_timeout_ms / 1000),
            on_messages=one_by_one(self._received.put_nowait),
            on_settle_failure=self._refused.append,
        )

    async def subscribe(self, topic: str, channel: str) -> None:
        """Connect and SUB."""
        await self._connection.open()
        await self._connection.subscribe(topic, channel)

    async def ready(self, count: int) -> None:
        """RDY."""
        await self._send(b"RDY %d\n" % count)

    async def receive(self) -> Received:
        """Return the next delivery; fail after 20 s."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self._received.get()
        return Received(message.id, message.body, message.attempts, message.timestamp_ns)

    async def receives_nothing(self) -> bool:
        """Return whether nothing arrives for 150 ms."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                self._received.put_nowait(await self._received.get())
        return self._received.empty()

    async def finish(self, received: Received) -> None:
        """FIN."""
        await self._send(b"FIN %s\n" % received.id)

    async def requeue(self, received: Received, delay_ms: int) -> None:
        """REQ."""
        await self._send(b"REQ %s %d\n" % (received.id, delay_ms))

    async def touch(self, received: Received) -> None:
        """TOUCH."""
        await self._send(b"TOUCH %s\n" % received.id)

    async def refusals(self) -> list[str]:
        """Return the commands that were refused."""
        return self._refused

    async def stop(self) -> None:
        """CLS, and wait for CLOSE_WAIT."""
        await self._connection.close_wait()

    async def disconnect(self) -> None:
        """Disconnect once the broker has read everything."""
        await self._connection.half_close(PATIENCE_S)

    async def _send(self, command: bytes) -> None:
        """Send a command that has no reply, and wait until the broker has read it.

        A broker reads the commands of one connection in order, and answers the PUB that follows.
        """
        self._connection.send(command)
        await self._connection.request(_BARRIER)

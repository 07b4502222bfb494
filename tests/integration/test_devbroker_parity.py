"""The same commands to the embedded broker and to a real nsqd; what can be seen must be the same.

Outside parity: message ids, timestamps, which of several consumers is served, timer precision,
and the features that the embedded broker answers as off.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.limits import Limits
from tests.unit.devbroker.http_errors import LIMITS as HTTP_LIMITS
from tests.unit.devbroker.http_errors import REFUSED
from tests.unit.devbroker.protocol_errors import FATAL, LIMITS, SUB, UNKNOWN_ID
from tests.unit.devbroker.raw_client import (
    MESSAGE,
    RESPONSE,
    RawClient,
    channel_stats,
    dpub,
    http,
    identify,
    mpub,
    pub,
    sized,
    stats,
)
from tests.waiting import until

pytestmark = pytest.mark.nsqd


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to reach one of the two."""

    tcp_address: str
    http_address: str

    async def client(self) -> RawClient:
        return await RawClient.connect(self.tcp_address)

    async def post(self, path: str, body: bytes = b"") -> tuple[int, bytes]:
        return await http(self.http_address, "POST", path, body)

    async def channel(self, topic: str = "t", channel: str = "c") -> dict[str, Any]:
        return await channel_stats(self.http_address, topic, channel)

    async def counts(self, topic: str = "t", channel: str = "c") -> dict[str, int]:
        found = await self.channel(topic, channel)
        return {name: value for name, value in found.items() if name.endswith(("count", "depth"))}


Scenario = Callable[[Broker], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Pair:
    """The embedded broker and the real one, set up alike."""

    embedded: Broker
    real: Broker

    async def agree(self, scenario: Scenario) -> None:
        """Play a scenario on both at once and compare what it returns."""
        ours, theirs = await asyncio.gather(scenario(self.embedded), scenario(self.real))
        assert ours == theirs


@pytest.fixture
async def pair(start_nsqd: Callable[..., Any]) -> AsyncIterator[Callable[..., Awaitable[Pair]]]:
    """A function that starts both with the same limits."""
    embedded: list[DevBroker] = []

    async def start(*nsqd_flags: str, **limits: Any) -> Pair:
        broker = DevBroker(0, 0, limits=Limits(**limits))
        await broker.start()
        embedded.append(broker)
        nsqd = await asyncio.to_thread(start_nsqd, *nsqd_flags)
        return Pair(
            Broker(broker.tcp_address, broker.http_address), Broker(nsqd.tcp_address, nsqd.http_address)
        )

    yield start
    for broker in embedded:
        await broker.stop()


StartPair = Callable[..., Awaitable[Pair]]


class TestErrors:
    async def test_every_fatal_error_of_the_protocol(self, pair: StartPair) -> None:
        both = await pair(f"-max-msg-size={LIMITS.max_msg_bytes}", max_msg_bytes=LIMITS.max_msg_bytes)

        async def scenario(broker: Broker) -> object:
            answers = {}
            for case in FATAL:
                client = await broker.client()
                answers[case.id] = await client.exchange(*case.said)
            return answers

        await both.agree(scenario)

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param([b"NOP\nNOP a b\r\n"], id="NOP"),
            pytest.param([SUB, b"RDY\nRDY 1 2\nRDY 2500\nRDY 0\n"], id="RDY"),
            pytest.param([SUB, b"FIN " + UNKNOWN_ID + b"\n"], id="FIN of what is not in flight"),
            pytest.param([SUB, b"REQ " + UNKNOWN_ID + b" 99999999\n"], id="REQ of what is not in flight"),
            pytest.param([SUB, b"REQ " + UNKNOWN_ID + b" \n"], id="REQ with an empty number"),
            pytest.param([SUB, b"TOUCH " + UNKNOWN_ID + b"\n"], id="TOUCH of what is not in flight"),
            pytest.param([SUB, b"CLS\nRDY 1\nRDY x\n"], id="CLS, and RDY after it"),
            pytest.param([b"PUB p extra\n" + sized(b"x")], id="PUB with a parameter too many"),
            pytest.param([mpub("p", b"x", b"y"), dpub("p", 3_600_000, b"z")], id="MPUB and DPUB"),
            pytest.param([b"MPUB p\n" + sized(b"\0\0\0\1" + sized(b"x") + b"SUB t c\n")], id="MPUB too long"),
            pytest.param([b"X" * 16_383 + b"\n"], id="the longest line"),
            pytest.param([b"PUB p#ephemeral\n" + sized(b"x")], id="an ephemeral topic"),
        ],
    )
    async def test_harmless_ones_and_odd_forms(self, pair: StartPair, said: list[bytes]) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            return await (await broker.client()).exchange(*said)

        await both.agree(scenario)

    async def test_a_bad_magic(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await RawClient.connect(broker.tcp_address, magic=b"  V1")
            return await client.exchange()

        await both.agree(scenario)

    async def test_every_http_error(self, pair: StartPair) -> None:
        both = await pair(
            f"-max-msg-size={HTTP_LIMITS.max_msg_bytes}",
            f"-max-body-size={HTTP_LIMITS.max_body_bytes}",
            max_msg_bytes=HTTP_LIMITS.max_msg_bytes,
            max_body_bytes=HTTP_LIMITS.max_body_bytes,
        )

        async def scenario(broker: Broker) -> object:
            await broker.post("/topic/create?topic=t")
            await broker.post("/channel/create?topic=t&channel=c")
            answers = {}
            for case in REFUSED:
                path = f"{case.path}?{urlencode(case.arguments)}"
                answers[case.id] = await broker.post(path, case.body)
            for method, path in (
                ("GET", "/nope"),
                ("POST", "/ping"),
                ("PUT", "/pub"),
                ("GET", "/config/nope"),
                ("PUT", "/config/nope"),
                ("PUT", "/config/log_level"),
                ("PUT", "/config/nsqlookupd_tcp_addresses"),
                ("GET", "/stats?a;b"),
                ("POST", "/pub?topic=%zz"),
                ("GET", "/%zz"),
                ("OPTIONS", "/config/x"),
            ):
                answers[method + path] = await http(broker.http_address, method, path, b"x")
            return answers

        await both.agree(scenario)


async def test_identify(pair: StartPair) -> None:
    both = await pair()

    async def scenario(broker: Broker) -> object:
        answers = []
        for wish in (
            {},
            {"msg_timeout": 5000, "output_buffer_size": -1},
            {"output_buffer_timeout": -1},
            {"output_buffer_timeout": 25, "output_buffer_size": 64, "heartbeat_interval": -1},
            {"tls_v1": True, "client_id": None},
            {"sample_rate": 7},
        ):
            client = await broker.client()
            reply = await client.ask(identify(feature_negotiation=True, **wish))
            assert reply is not None
            answers.append({**json.loads(reply[1]), "version": ""})
            await client.close()
        return answers

    await both.agree(scenario)


async def test_config(pair: StartPair) -> None:
    both = await pair()

    async def scenario(broker: Broker) -> object:
        options = ("max_msg_size", "max_body_size", "max_req_timeout", "msg_timeout", "max_msg_timeout")
        more = ("max_rdy_count", "mem_queue_size", "max_heartbeat_interval", "nsqlookupd_tcp_addresses")
        answers = [await http(broker.http_address, "GET", f"/config/{option}") for option in options + more]
        for option, body in (
            ("log_level", b"DEBUG"),
            ("log_level", b""),
            ("nsqlookupd_tcp_addresses", b"null"),
            ("nsqlookupd_tcp_addresses", b"[null]"),
            ("nsqlookupd_tcp_addresses", b"[]"),
            ("nsqlookupd_tcp_addresses", b"[1]"),
        ):
            answers.append(await http(broker.http_address, "PUT", f"/config/{option}", body))
            answers.append(await http(broker.http_address, "GET", f"/config/{option}"))
        return answers

    await both.agree(scenario)


class TestMessages:
    async def test_the_first_channel_takes_the_backlog(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            producer, first, second = [await broker.client() for _ in range(3)]
            await producer.ask(mpub("t", b"1", b"2", b"3"))
            await first.subscribe("t", "a", ready=10)
            before = [m.body for m in await first.messages(3)]
            await second.subscribe("t", "b", ready=10)
            await producer.ask(pub("t", b"4"))
            after = [(await first.message()).body, (await second.message()).body]
            counts = [await broker.counts("t", channel) for channel in ("a", "b")]
            await _close(producer, first, second)
            return before, after, counts

        await both.agree(scenario)

    async def test_ready_attempts_and_counts(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c")
            await client.ask(mpub("t", *(b"%d" % number for number in range(5))))
            client.send(b"RDY 2\n")
            seen = await client.messages(2)
            held = await broker.counts()
            client.send(b"FIN " + seen[0].id + b"\nREQ " + seen[1].id + b" 0\n")
            seen += await client.messages(2)
            client.send(b"RDY 10\n")
            seen += await client.messages(2)
            again = await broker.counts()
            client.send(b"REQ " + seen[-1].id + b" 3600000\nTOUCH " + seen[2].id + b"\n")
            assert (await client.ask(b"CLS\n")) == (RESPONSE, b"CLOSE_WAIT")
            last = await broker.channel()
            (found,) = last["clients"]
            state = {n: v for n, v in found.items() if n.endswith("_count") or n == "state"}
            await client.close()
            return [(m.body, m.attempts) for m in seen], held, again, await _settled(broker, last), state

        await both.agree(scenario)

    async def test_only_the_holder_settles_and_a_gone_one_keeps_what_it_held(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            holder, other = [await broker.client() for _ in range(2)]
            await holder.subscribe("t", "c", ready=1)
            await holder.ask(pub("t", b"x"))
            message = await holder.message()
            await other.subscribe("t", "c", ready=1)
            refusals = []
            for command in (b"FIN %s\n", b"REQ %s 0\n", b"TOUCH %s\n"):
                frame = await other.ask(command % message.id)
                assert frame is not None
                refusals.append((frame[0], frame[1].replace(message.id, b"ID")))
            await holder.close()

            async def alone() -> bool:
                return bool((await broker.channel())["client_count"] == 1)

            await until(alone)
            counts = await broker.counts()
            await other.close()
            return refusals, counts

        await both.agree(scenario)

    async def test_settling_before_a_half_close_counts(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c", ready=100)
            await client.ask(mpub("t", *[b"x"] * 100))
            client.send(*(b"FIN " + m.id + b"\n" for m in await client.messages(100)))
            client._writer.write_eof()
            rest = await client.frames_to_the_end()
            await client.close()
            return rest, await broker.counts()

        await both.agree(scenario)

    @pytest.mark.slow
    async def test_timers(self, pair: StartPair) -> None:
        """Nothing comes early, and all comes; a real nsqd looks at new channels every 5 s only."""
        both = await pair("-msg-timeout=2s", "-max-msg-timeout=3s", msg_timeout_s=2.0, max_msg_timeout_s=3.0)

        async def deferred(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t1", "c", ready=1)
            sent_s = time.monotonic()
            await client.ask(dpub("t1", 200, b"x"))
            message = await client.message()
            early = time.monotonic() - sent_s < 0.2
            await client.close()
            return message.attempts, early, await _settled(broker, await broker.channel("t1"))

        async def delayed(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t2", "c", ready=1)
            await client.ask(pub("t2", b"x"))
            sent_s = time.monotonic()
            client.send(b"REQ " + (await client.message()).id + b" 200\n")
            message = await client.message()
            early = time.monotonic() - sent_s < 0.2
            await client.close()
            return message.attempts, early, await _settled(broker, await broker.channel("t2"))

        async def timed_out(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t3", "c", ready=1, msg_timeout=1000)
            sent_s = time.monotonic()
            await client.ask(pub("t3", b"x"))
            first = await client.message()
            second = await client.message()
            early = time.monotonic() - sent_s < 1.0
            client.send(b"FIN " + first.id + b"\n")  # settles the second delivery of the same id
            refusal = await client.ask(b"FIN " + second.id + b"\n")
            assert refusal is not None
            await client.close()
            ended = await _settled(broker, await broker.channel("t3"))
            return second.attempts, early, first.id == second.id, refusal[1].replace(first.id, b"ID"), ended

        async def touched(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t4", "c", ready=1, msg_timeout=2000)
            sent_s = time.monotonic()
            await client.ask(pub("t4", b"x"))
            first = await client.message()
            await asyncio.sleep(1.1)  # so late that TOUCH asks for more than the cap
            client.send(b"TOUCH " + first.id + b"\n")
            second = await client.message()
            early = time.monotonic() - sent_s < 3.0  # the cap, and not the 3.1 s that TOUCH asked for
            await client.close()
            return second.attempts, early, await _settled(broker, await broker.channel("t4"))

        async def scenario(broker: Broker) -> object:
            return await asyncio.gather(deferred(broker), delayed(broker), timed_out(broker), touched(broker))

        await both.agree(scenario)


class TestOutputBuffer:
    """Ticks come every 30 s here, so that nothing but the rule itself lets a message out."""

    @pytest.mark.parametrize(
        ("lets_out", "first"),
        [
            pytest.param(b"RDY 2\n", MESSAGE, id="as many held as ready for"),
            pytest.param(b"RDY 0\n", MESSAGE, id="ready for none"),
            pytest.param(pub("other", b"x"), MESSAGE, id="a reply comes after what was held"),
            pytest.param(b"CLS\n", MESSAGE, id="CLS"),
            pytest.param(b"FOO\n", MESSAGE, id="a refusal comes after what was held"),
            pytest.param(b"NOP\nRDY 3\nFOO\n", MESSAGE, id="neither NOP nor the same RDY"),
        ],
    )
    async def test_what_lets_messages_out(self, pair: StartPair, lets_out: bytes, first: int) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c", ready=3, output_buffer_timeout=30_000)
            await broker.post("/mpub?topic=t", b"1\n2")

            async def sent() -> bool:
                return (await broker.counts())["in_flight_count"] == 2

            await until(sent)
            frames = await client.exchange(lets_out)
            assert frames[0][0] == first
            return [(kind, data[26:] if kind == MESSAGE else data) for kind, data in frames]

        await both.agree(scenario)

    @pytest.mark.parametrize("size", [64, 100, 1000, 65_536])
    async def test_a_full_buffer_goes_out_cut_where_it_is_full(self, pair: StartPair, size: int) -> None:
        both = await pair()
        bodies = [b"%03d" % number + b"x" * (number * 7 % 150) for number in range(60)]

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c", ready=100, output_buffer_timeout=30_000, output_buffer_size=size)
            await broker.post("/mpub?topic=t", b"\n".join(bodies))

            async def sent() -> bool:
                return (await broker.counts())["in_flight_count"] == len(bodies)

            await until(sent)
            return len(await client.until_quiet())

        await both.agree(scenario)

    async def test_without_a_buffer_every_message_goes_out_at_once(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c", ready=100, output_buffer_size=-1)
            await broker.post("/mpub?topic=t", b"1\n2\n3")
            messages = await client.messages(3)
            await client.close()
            return [message.body for message in messages]

        await both.agree(scenario)

    async def test_a_paused_channel_lets_messages_out(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c", ready=3, output_buffer_timeout=30_000)
            await broker.post("/pub?topic=t", b"1")

            async def sent() -> bool:
                return (await broker.counts())["in_flight_count"] == 1

            await until(sent)
            await broker.post("/channel/pause?topic=t&channel=c")
            message = await client.message()
            await client.close()
            return message.body

        await both.agree(scenario)


async def test_a_sample_takes_its_share_and_loses_the_rest(pair: StartPair) -> None:
    """Both draw by chance, so the share is held against bounds that a fair draw never leaves."""
    both = await pair()

    async def scenario(broker: Broker) -> object:
        client = await broker.client()
        await client.subscribe("t", "c", ready=2500, sample_rate=50, output_buffer_size=-1)
        await broker.post("/mpub?topic=t", b"\n".join([b"x"] * 2000))

        async def spread() -> bool:
            found = await broker.counts()
            return found["message_count"] == 2000 and not found["depth"]

        await until(spread)
        held = (await broker.counts())["in_flight_count"]
        await client.close()
        return "fair" if 800 < held < 1250 else f"{held} of 2000"

    await both.agree(scenario)


class TestTopicsAndChannels:
    async def test_pause_empty_and_delete(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            client = await broker.client()
            await client.subscribe("t", "c", ready=10)
            seen: list[object] = [await broker.post("/channel/pause?topic=t&channel=c")]
            await client.ask(pub("t", b"1"))
            seen.append(await broker.counts())
            seen.append(await broker.post("/channel/unpause?topic=t&channel=c"))
            held = await client.message()
            seen.append(await broker.post("/topic/pause?topic=t"))
            await client.ask(pub("t", b"2"))
            (topic,) = (await stats(broker.http_address))["topics"]
            seen.append((topic["depth"], topic["paused"]))
            seen.append(await broker.post("/topic/empty?topic=t"))
            seen.append(await broker.post("/channel/empty?topic=t&channel=c"))
            seen.append(await broker.counts())
            refusal = await client.ask(b"FIN " + held.id + b"\n")
            assert refusal is not None
            seen.append(refusal[1].replace(held.id, b"ID"))
            seen.append(await broker.post("/channel/delete?topic=t&channel=c"))
            seen.append(await client.frames_to_the_end())
            seen.append(await broker.post("/topic/delete?topic=t"))
            seen.append((await stats(broker.http_address))["topics"])
            await client.close()
            return seen

        await both.agree(scenario)

    async def test_ephemeral_ones_go_with_their_last_client(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            for topic in ("t", "e#ephemeral"):
                client = await broker.client()
                await client.subscribe(topic, "c#ephemeral", ready=1)
                await client.close()

            async def quiet() -> bool:
                topics = (await stats(broker.http_address))["topics"]
                return not any(topic["channels"] for topic in topics) and len(topics) == 1

            await until(quiet)
            return [topic["topic_name"] for topic in (await stats(broker.http_address))["topics"]]

        await both.agree(scenario)


class TestStatistics:
    async def _play(self, broker: Broker) -> list[RawClient]:
        # One topic each: of a client's several pub_counts nsqd 1.3.0 lists any one.
        consumer, producer, other = [await broker.client() for _ in range(3)]
        await consumer.subscribe("t", "c", ready=2, client_id="me", hostname="here", user_agent="ua/1")
        await producer.ask(identify(client_id="pid"))
        await producer.ask(mpub("t", b"1", b"22", b"333"))
        await producer.ask(dpub("t", 900_000, b"x"))
        await other.ask(identify(client_id="other"))
        await other.ask(pub("u", b"x"))
        await consumer.messages(2)

        async def spread() -> bool:
            return (await broker.counts())["message_count"] == 4

        await until(spread)
        return [consumer, producer, other]

    async def test_json(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            clients = await self._play(broker)
            queries = (
                "",
                "&topic=t",
                "&topic=nope",
                "&topic=t&channel=c",
                "&topic=t&channel=nope",
                "&channel=c",
            )
            flags = (
                "&include_clients=false",
                "&include_mem=false",
                "&include_clients=0&include_mem=0&topic=u",
            )
            answers = {
                query: _anonymous(await stats(broker.http_address, query)) for query in queries + flags
            }
            await _close(*clients)
            return answers

        await both.agree(scenario)

    async def test_text(self, pair: StartPair) -> None:
        both = await pair()

        async def scenario(broker: Broker) -> object:
            clients = await self._play(broker)
            await broker.post("/channel/pause?topic=t&channel=c")
            await broker.post("/topic/pause?topic=u")
            _, body = await http(broker.http_address, "GET", "/stats?include_mem=false")
            await _close(*clients)
            text = body.decode().partition("Health: ")[2]
            text = "\n".join(sorted(re.sub(r":\d{5} ", ":PORT ", text).split("\n")))
            return re.sub(r"connected: \d+s", "connected: SOME", text)

        await both.agree(scenario)


def _anonymous(value: Any) -> Any:
    """Return statistics without what differs between any two brokers."""
    different = {"version", "start_time", "remote_address", "connect_ts", "memory"}
    if isinstance(value, dict):
        if value.get("producers"):
            value["producers"].sort(key=lambda client: str(client["client_id"]))
        return {key: "" if key in different else _anonymous(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_anonymous(inner) for inner in value]
    return value


async def _settled(broker: Broker, channel: dict[str, Any]) -> dict[str, int]:
    return {n: v for n, v in channel.items() if n in {"message_count", "requeue_count", "timeout_count"}}


async def _close(*clients: RawClient) -> None:
    for client in clients:
        await client.close()

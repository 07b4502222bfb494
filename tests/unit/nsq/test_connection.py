"""One connection, against a scripted nsqd: the exact commands, and every way to lose it."""

import asyncio
import json
import logging
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError, SettingsError
from nsqkit.nsq.compression import Deflate
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.handshake import Handshake
from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply
from nsqkit.nsq.message import Message, one_by_one
from nsqkit.nsq.tls import Tls
from tests.unit.nsq.fake_nsqd import ID, IDENTIFY_REPLY, FakeNsqd, Peer, frame, message_frame
from tests.waiting import PATIENCE_S, turns

OPTIONS = ConnectionOptions(client_id="worker-1", hostname="host.example", user_agent="nsqkit/test")
TLS = ConnectionOptions(auth_secret="hush", tls=Tls(ssl.create_default_context()))
SHORT = ConnectionOptions(connect_timeout_s=1.0)
FIN = b"FIN " + ID + b"\n"


class Subscribed:
    """A connection with a subscription, and nsqd's end of it."""

    def __init__(self, nsqd: FakeNsqd) -> None:
        self.nsqd = nsqd
        self.failures: list[str] = []
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.connection = Connection(
            nsqd.address,
            OPTIONS,
            on_messages=one_by_one(self.messages.put_nowait),
            on_settle_failure=self.failures.append,
        )
        self.peer: Peer

    async def message(self, data: bytes | None = None) -> Message:
        self.peer.send(message_frame() if data is None else data)
        async with asyncio.timeout(PATIENCE_S):
            return await self.messages.get()

    async def ended(self) -> NsqkitError | None:
        async with asyncio.timeout(PATIENCE_S):
            return await self.connection.wait_closed()


@pytest.fixture
async def live(nsqd: FakeNsqd) -> AsyncIterator[Subscribed]:
    side = Subscribed(nsqd)
    subscribing = asyncio.create_task(_subscribe(side.connection))
    side.peer = await nsqd.accept()
    await side.peer.subscribed()
    await subscribing
    yield side
    side.connection.close()


async def _subscribe(connection: Connection) -> None:
    await connection.open()
    await connection.subscribe("orders", "stock")


async def _opening(
    nsqd: FakeNsqd, options: ConnectionOptions = OPTIONS
) -> tuple[Connection, asyncio.Task[Any], Peer]:
    connection = Connection(nsqd.address, options)
    opening = asyncio.create_task(connection.open())
    return connection, opening, await nsqd.accept()


async def _deflated(
    nsqd: FakeNsqd, on_message: Callable[[Message], None]
) -> tuple[Connection, Peer, Deflate]:
    """Return an open connection with compression, nsqd's end of it, and nsqd's layer."""
    connection = Connection(
        nsqd.address, ConnectionOptions(compression="deflate"), on_messages=one_by_one(on_message)
    )
    opening = asyncio.create_task(connection.open())
    peer = await nsqd.accept()
    await peer.shake_hands(deflate=True)
    layer = Deflate(6)
    peer.send(layer.encode(frame(0, b"OK")))
    await opening
    return connection, peer, layer


class TestHandshake:
    async def test_identify_says_what_the_options_ask_for(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd)
        said = await peer.shake_hands(max_rdy_count=10, msg_timeout=1500, max_msg_timeout=9000)
        assert await opening == IdentifyReply("1.3.0", 10, 1.5, 9.0)
        connection.close()
        assert said["client_id"] == "worker-1"
        assert said["hostname"] == "host.example"
        assert said["user_agent"] == "nsqkit/test"
        assert said["heartbeat_interval"] == 30_000
        assert said["msg_timeout"] == 60_000
        assert said["output_buffer_size"] == 65536
        assert said["output_buffer_timeout"] == 25
        assert said["feature_negotiation"] is True

    async def test_the_names_are_this_machines_unless_given(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd, ConnectionOptions())
        said = await peer.shake_hands()
        await opening
        connection.close()
        assert said["client_id"]
        assert said["hostname"].startswith(said["client_id"])

    async def test_the_secret_is_sent_where_nsqd_asks_for_it(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd, ConnectionOptions(auth_secret="hush"))
        await peer.shake_hands(auth_required=True)
        await peer.expect(b"AUTH\n\x00\x00\x00\x04hush")
        assert not opening.done()
        peer.respond(b'{"identity":"worker","identity_url":"","permission_count":1}')
        await opening
        connection.close()

    async def test_the_secret_is_kept_where_nsqd_does_not_ask(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd, ConnectionOptions(auth_secret="hush"))
        await peer.shake_hands(auth_required=False)
        await opening
        connection.close()
        await peer.expect_end()

    async def test_an_nsqd_that_demands_a_secret_is_refused_without_one(self, nsqd: FakeNsqd) -> None:
        """Pynsq would go on, and be refused at SUB over and over."""
        _, opening, peer = await _opening(nsqd)
        await peer.shake_hands(auth_required=True)
        with pytest.raises(RefusedError, match=r"E_AUTH_FIRST .*auth_secret"):
            await opening
        await peer.expect_end()

    async def test_a_refused_secret_is_a_refusal(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd, ConnectionOptions(auth_secret="wrong"))
        await peer.shake_hands(auth_required=True)
        await peer.command()
        peer.refuse(b"E_UNAUTHORIZED AUTH no authorizations found")
        with pytest.raises(RefusedError) as caught:
            await opening
        assert (caught.value.code, caught.value.description) == (
            "E_UNAUTHORIZED",
            "AUTH no authorizations found",
        )
        assert caught.value.permanent
        assert await connection.wait_closed() is caught.value

    async def test_without_the_tls_that_is_wanted_nothing_more_is_sent(self, nsqd: FakeNsqd) -> None:
        """Pynsq would go on in plain text, and send the secret."""
        connection = Connection(nsqd.address, TLS)
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.shake_hands(auth_required=True, tls_v1=False)
        with pytest.raises(RefusedError, match="TLS"):
            await opening
        await peer.expect_end()

    async def test_an_nsqd_that_knows_no_features_is_refused_where_tls_is_wanted(
        self, nsqd: FakeNsqd
    ) -> None:
        """Pynsq takes its plain OK for the end of the handshake."""
        connection = Connection(nsqd.address, TLS)
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.identify()
        peer.respond(b"OK")
        with pytest.raises(RefusedError, match="no TLS"):
            await opening
        await peer.expect_end()

    async def test_an_answer_slipped_in_before_tls_counts_as_tls(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, TLS)
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.identify()
        granted = json.dumps(IDENTIFY_REPLY | {"tls_v1": True, "auth_required": True}).encode()
        peer.send(frame(0, granted) + frame(0, b"OK"))
        with pytest.raises(ConnectionLostError, match="TLS failed"):
            await opening
        assert b"hush" not in await peer.some()

    async def test_a_tls_handshake_that_is_given_up_leaves_no_connection(self, nsqd: FakeNsqd) -> None:
        """Pynsq has no stream to close while TLS begins: an orphan would stay."""
        connection = Connection(nsqd.address, TLS)
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.shake_hands(tls_v1=True)
        await peer.some()
        opening.cancel()
        await asyncio.wait({opening})
        assert connection.closed()
        await peer.expect_end()

    async def test_compression_begins_in_the_middle_of_what_was_read(self, nsqd: FakeNsqd) -> None:
        """Nsqd sends its OK inside the new layer at once, behind the answer to IDENTIFY."""
        connection = Connection(nsqd.address, ConnectionOptions(compression="deflate"))
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.identify()
        layer = Deflate(6)
        peer.send(frame(0, b'{"deflate":true}') + layer.encode(frame(0, b"OK")))
        await opening
        connection.send(b"NOP\n")
        assert layer.decode(await peer.some()) == b"NOP\n"
        connection.close()

    async def test_what_cannot_be_decompressed_ends_the_connection(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, ConnectionOptions(compression="deflate"))
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.identify()
        peer.send(frame(0, b'{"deflate":true}') + b"HTTP/1.1 400 Bad Request")
        with pytest.raises(ConnectionLostError, match="invalid answer"):
            await opening
        await peer.expect_end()

    async def test_compression_takes_the_connection_over(self, nsqd: FakeNsqd) -> None:
        """Frame by frame until then: what follows the answer to IDENTIFY is compressed already."""
        packer, unpacker = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15)

        def deflated(data: bytes) -> bytes:
            return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)

        bodies: asyncio.Queue[bytes] = asyncio.Queue()
        options = ConnectionOptions(compression="deflate")
        connection = Connection(
            nsqd.address,
            options,
            on_messages=one_by_one(lambda message: bodies.put_nowait(message.body)),
        )
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        assert (await peer.shake_hands(deflate=True))["deflate"] is True
        peer.send(deflated(frame(0, b"OK")))
        await opening
        peer.send(deflated(message_frame(body=b"body") + frame(0, b"_heartbeat_")))
        assert await bodies.get() == b"body"
        assert unpacker.decompress(await peer.some()) == b"NOP\n"
        connection.close()

    async def test_all_that_was_compressed_arrives_before_the_end_and_is_dated_by_its_arrival(
        self, nsqd: FakeNsqd
    ) -> None:
        """It takes several turns to decompress, and the end is there in the first."""
        messages: list[Message] = []
        connection, peer, layer = await _deflated(nsqd, messages.append)
        peer.send(layer.encode(message_frame(body=b"x" * 50_000) * 9))
        await peer.close()
        assert "closed by the other side" in str(await connection.wait_closed())
        assert len(messages) == 9
        assert len({message.received_s for message in messages}) == 1

    async def test_what_makes_no_sense_behind_compressed_messages_ends_the_connection_after_them(
        self, nsqd: FakeNsqd
    ) -> None:
        messages: list[Message] = []
        connection, peer, layer = await _deflated(nsqd, messages.append)
        peer.send(layer.encode(message_frame(body=b"x" * 50_000) * 9 + frame(9, b"?")))
        assert "type 9" in str(await connection.wait_closed())
        assert len(messages) == 9

    async def test_after_close_nothing_is_decompressed_any_more(self, nsqd: FakeNsqd) -> None:
        messages: list[Message] = []

        def take(message: Message) -> None:
            messages.append(message)
            connection.close()

        connection, peer, layer = await _deflated(nsqd, take)
        peer.send(layer.encode(message_frame(body=b"x" * 50_000) * 9))
        await connection.wait_closed()
        await turns(5)
        assert len(messages) == 1

    async def test_a_bomb_in_the_handshake_is_unpacked_in_steps_too(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, ConnectionOptions(compression="deflate"))
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.shake_hands(deflate=True)
        peer.send(Deflate(6).encode(frame(0, b"_heartbeat_") * 10_000 + frame(0, b"OK")))
        await opening
        connection.close()

    async def test_what_comes_right_behind_the_handshake_is_processed(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.send(frame(0, b"{}") + frame(0, b"_heartbeat_"))
        await opening
        await peer.expect(b"NOP\n")
        connection.close()

    async def test_a_tls_handshake_that_fails_loses_the_connection(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, TLS)
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.shake_hands(auth_required=True, tls_v1=True)
        hello = await peer.some()
        assert b"hush" not in hello
        peer.send(b"no TLS at all")
        with pytest.raises(ConnectionLostError, match="TLS"):
            await opening

    async def test_a_refused_identify_is_a_refusal(self, nsqd: FakeNsqd) -> None:
        _, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.refuse(b"E_BAD_BODY IDENTIFY heartbeat interval (1) is invalid")
        with pytest.raises(RefusedError, match="heartbeat interval"):
            await opening
        await peer.expect_end()

    async def test_an_nsqd_that_cannot_keep_a_message_for_as_long_as_the_handler_takes_is_refused(
        self, nsqd: FakeNsqd
    ) -> None:
        _, opening, peer = await _opening(nsqd, ConnectionOptions(holds_s=300.0))
        await peer.shake_hands(max_msg_timeout=120_000)
        with pytest.raises(RefusedError, match=r"120 s.* 300 s.*timeout_s.*--max-msg-timeout"):
            await opening
        await peer.expect_end()

    async def test_an_nsqd_that_can_keep_a_message_just_long_enough_is_taken(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd, ConnectionOptions(holds_s=300.0))
        await peer.shake_hands(max_msg_timeout=300_000)
        assert (await opening).max_msg_timeout_s == 300.0
        connection.close()

    async def test_a_lease_that_nsqd_refuses_is_named(self, nsqd: FakeNsqd) -> None:
        _, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.refuse(b"E_BAD_BODY IDENTIFY msg timeout (905000) is invalid")
        with pytest.raises(RefusedError, match=r"905000.*msg_timeout_s.*--max-msg-timeout"):
            await opening

    async def test_an_nsqd_without_feature_negotiation_has_default_limits(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.respond(b"OK")
        assert await opening == IdentifyReply()
        connection.close()

    async def test_an_answer_without_max_rdy_count_has_the_default(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.respond(b"{}")
        assert await opening == IdentifyReply()
        connection.close()

    @pytest.mark.parametrize(
        ("answer", "problem"),
        [
            pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP port", id="nsqd's HTTP port"),
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "not an nsqd", id="another server"),
            pytest.param(frame(0, b"not json"), "invalid answer", id="no JSON"),
            pytest.param(frame(0, b"[1]"), "invalid answer", id="JSON, but no object"),
            pytest.param(
                frame(0, b'{"max_rdy_count":"many"}'), "max_rdy_count", id="a limit that is no number"
            ),
            pytest.param(frame(7, b"OK"), "type 7", id="unknown frame type"),
            pytest.param(frame(0, b""), "invalid answer", id="an empty answer"),
        ],
    )
    async def test_an_answer_that_makes_no_sense_ends_the_connection(
        self, nsqd: FakeNsqd, answer: bytes, problem: str
    ) -> None:
        _, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.send(answer)
        with pytest.raises(ConnectionLostError, match=problem):
            await opening
        await peer.expect_end()

    @pytest.mark.parametrize("sent", [b"", b"\x00", frame(0, b"{}")[:4], frame(0, b"{}")[:-1]], ids=len)
    async def test_an_nsqd_that_closes_in_the_middle_of_its_answer_is_lost(
        self, nsqd: FakeNsqd, sent: bytes
    ) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.identify()
        peer.send(sent)
        await peer.close()
        with pytest.raises(ConnectionLostError, match="closed by the other side"):
            await opening
        assert connection.closed()

    async def test_an_nsqd_that_resets_the_connection_is_lost(self, nsqd: FakeNsqd) -> None:
        _, opening, peer = await _opening(nsqd)
        peer.reset()
        with pytest.raises(ConnectionLostError):
            await opening

    async def test_a_silent_nsqd_is_lost_in_time(self, nsqd: FakeNsqd) -> None:
        _, opening, peer = await _opening(nsqd, SHORT)
        await peer.identify()
        with pytest.raises(ConnectionLostError, match="no answer in time"):
            await opening
        await peer.expect_end()

    async def test_an_nsqd_that_is_not_there_is_lost(self, nsqd: FakeNsqd) -> None:
        async with FakeNsqd() as gone:
            pass
        with pytest.raises(ConnectionLostError, match=f"{gone.address}: Connection refused"):
            await Connection(gone.address, OPTIONS).open()

    async def test_an_ipv6_address_in_brackets_works(self) -> None:
        """Pynsq splits addresses at the first colon."""
        fake = FakeNsqd("::1")
        try:
            await fake.__aenter__()
        except OSError:
            pytest.skip("this machine has no IPv6")
        connection, opening, peer = await _opening(fake)
        await peer.shake_hands()
        await opening
        assert connection.address == f"[::1]:{fake.port}"
        connection.close()
        await fake.__aexit__()

    async def test_an_address_that_is_none_is_refused_before_connecting(self) -> None:
        with pytest.raises(SettingsError):
            Connection("::1:4150", OPTIONS)


class TestSubscription:
    async def test_a_refused_subscription_is_a_refusal(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, OPTIONS)
        subscribing = asyncio.create_task(_subscribe(connection))
        peer = await nsqd.accept()
        await peer.shake_hands()
        await peer.expect(b"SUB orders stock\n")
        peer.refuse(b"E_SUB_FAILED SUB failed to add client to channel")
        with pytest.raises(RefusedError, match="E_SUB_FAILED"):
            await subscribing
        await peer.expect_end()

    @pytest.mark.parametrize(("topic", "channel"), [("a b", "stock"), ("orders", ""), ("orders", "x" * 65)])
    async def test_a_bad_name_is_not_sent(self, nsqd: FakeNsqd, topic: str, channel: str) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.shake_hands()
        await opening
        with pytest.raises(ValueError, match="name"):
            await connection.subscribe(topic, channel)
        connection.close()
        await peer.expect_end()

    async def test_ready_is_sent_when_it_changes_and_never_above_nsqds_limit(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, OPTIONS)
        subscribing = asyncio.create_task(_subscribe(connection))
        peer = await nsqd.accept()
        await peer.subscribed(max_rdy_count=10)
        await subscribing
        for counts, rdy in [((0, 3, 3), 3), ((99, 10), 10), ((0,), 0), ((5, 0, 3), 3)]:
            for count in counts:
                connection.ready(count)
            await peer.expect(b"RDY %d\n" % rdy)
        connection.close()


class TestMessages:
    async def test_a_message_has_all_that_nsqd_said(self, live: Subscribed) -> None:
        before_s = time.monotonic()
        message = await live.message(
            message_frame(body=b"{}", attempts=3, timestamp_ns=1_700_000_000_000_000_000)
        )
        assert (message.id, message.body, message.attempts) == (ID, b"{}", 3)
        assert message.timestamp_ns == 1_700_000_000_000_000_000
        assert (message.address, message.topic) == (live.nsqd.address, "orders")
        assert (message.lease_s, message.max_lease_s) == (60.0, 900.0)
        assert before_s <= message.received_s <= time.monotonic()

    @pytest.mark.parametrize(
        ("chunk", "oldest_s"),
        [
            pytest.param([(1, 3600.0)], 3600.0, id="what was published an hour ago is an hour old"),
            pytest.param([(1, 0.0)], 0.0, id="what was published just now is not"),
            pytest.param([(2, 3600.0)], 0.0, id="what was delivered before says nothing"),
            pytest.param([(1, 0.0), (1, 3600.0)], 3600.0, id="the last of a chunk counts"),
            pytest.param([(1, 3600.0), (2, 3600.0)], 0.0, id="also where it says nothing"),
        ],
    )
    async def test_the_age_of_a_first_delivery_is_known(
        self, live: Subscribed, chunk: list[tuple[int, float]], oldest_s: float
    ) -> None:
        changed = asyncio.Event()
        live.connection.on_change = changed.set
        live.peer.send(
            b"".join(
                message_frame(attempts=attempts, timestamp_ns=int((time.time() - ago_s) * 1e9))
                for attempts, ago_s in chunk
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            await changed.wait()
        assert oldest_s <= live.connection.age_s < oldest_s + PATIENCE_S

    async def test_a_message_that_came_while_the_loop_was_blocked_is_dated_before_that(
        self, live: Subscribed
    ) -> None:
        """Else its lease would be taken for longer than nsqd's, and a FIN go to its next delivery."""
        live.peer.send(message_frame())
        sent_s = time.monotonic()
        time.sleep(0.8)  # noqa: ASYNC251 - a handler that blocks the loop
        async with asyncio.timeout(PATIENCE_S):
            assert (await live.messages.get()).received_s <= sent_s

    @pytest.mark.parametrize("attempts", [1, 32767, 32768, 40000, 65535])
    async def test_attempts_are_unsigned(self, live: Subscribed, attempts: int) -> None:
        """Pynsq reads 40000 as -25536, and requeues with a negative delay."""
        assert (await live.message(message_frame(attempts=attempts))).attempts == attempts

    async def test_messages_cut_anywhere_arrive_whole_and_in_order(self, live: Subscribed) -> None:
        bodies = [b"a", b"b" * 200_000, b"c", b"d" * 70_000]
        stream = b"".join(message_frame(body=body) for body in bodies)
        for start in range(0, len(stream), 50_001):
            live.peer.send(stream[start : start + 50_001])
            await live.peer.writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            assert [(await live.messages.get()).body for _ in bodies] == bodies

    async def test_answers_of_one_turn_leave_in_one_write(
        self, live: Subscribed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        messages = [await live.message() for _ in range(100)]
        assert live.connection._stream is not None
        writes: list[bytes] = []
        write = live.connection._stream.write

        def record(data: bytes) -> object:
            writes.append(data)
            return write(data)

        monkeypatch.setattr(live.connection._stream, "write", record)
        assert all(message.finish() for message in messages)
        await live.peer.expect(*[FIN] * 100)
        assert writes == [FIN * 100]

    async def test_what_changes_with_a_chunk_leaves_in_one_write_with_its_answers(
        self, live: Subscribed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert live.connection._stream is not None
        writes: list[bytes] = []
        monkeypatch.setattr(live.connection._stream, "write", writes.append)
        live.connection.on_change = lambda: live.connection.ready(live.connection.received)
        live.peer.send(message_frame() * 2)
        async with asyncio.timeout(PATIENCE_S):
            for message in [await live.messages.get() for _ in range(2)]:
                assert message.finish()
            await turns(2)
        assert writes == [FIN * 2 + b"RDY 2\n"]

    @pytest.mark.parametrize(
        ("rdy", "expected"),
        [
            pytest.param(2, (b"RDY 2\n", FIN, FIN), id="a lower RDY is read before answers can make room"),
            pytest.param(9, (FIN, FIN, b"RDY 9\n"), id="a higher one after them"),
            pytest.param(5, (FIN, FIN), id="one that changed back is not sent"),
        ],
    )
    async def test_rdy_is_part_of_the_write(
        self, live: Subscribed, rdy: int, expected: tuple[bytes, ...]
    ) -> None:
        first, second = await live.message(), await live.message()
        live.connection.ready(5)
        await live.peer.expect(b"RDY 5\n")
        first.finish()
        live.connection.ready(7)
        live.connection.ready(rdy)
        second.finish()
        await live.peer.expect(*expected)
        live.connection.close()
        await live.peer.expect_end()

    async def test_a_chunk_is_a_change_once_after_its_messages_could_be_answered(
        self, live: Subscribed
    ) -> None:
        changes: list[tuple[int, int]] = []
        connection = live.connection
        connection.on_change = lambda: changes.append((connection.received, connection.answered))
        live.peer.send(message_frame() * 3)
        async with asyncio.timeout(PATIENCE_S):
            for message in [await live.messages.get() for _ in range(3)]:
                message.finish()
        await live.peer.expect(FIN, FIN, FIN)
        assert changes == [(3, 3)]

    async def test_answers_come_in_the_order_in_which_they_were_given(self, live: Subscribed) -> None:
        first, second, third = [
            await live.message(message_frame(id_)) for id_ in (b"1" * 16, b"2" * 16, b"3" * 16)
        ]
        second.touch()
        third.requeue(0.25)
        first.finish()
        await live.peer.expect(
            b"TOUCH 2222222222222222\n", b"REQ 3333333333333333 250\n", b"FIN 1111111111111111\n"
        )
        assert (live.connection.received, live.connection.answered) == (3, 2)

    async def test_whoever_raises_takes_neither_the_connection_nor_the_next_chunk_along(
        self, nsqd: FakeNsqd
    ) -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        bodies: asyncio.Queue[bytes] = asyncio.Queue()

        def on_messages(messages: Sequence[Message]) -> None:
            bodies.put_nowait(messages[0].body)
            if messages[0].body == b"bad":
                raise LookupError

        connection = Connection(nsqd.address, OPTIONS, on_messages=on_messages)
        subscribing = asyncio.create_task(_subscribe(connection))
        peer = await nsqd.accept()
        await peer.subscribed()
        await subscribing
        for body in (b"bad", b"good"):
            peer.send(message_frame(body=body))
            assert await bodies.get() == body
        assert [type(context["exception"]) for context in told] == [LookupError]
        connection.close()

    async def test_messages_of_one_chunk_are_handed_on_together(self, nsqd: FakeNsqd) -> None:
        chunks: asyncio.Queue[Sequence[Message]] = asyncio.Queue()
        connection = Connection(nsqd.address, OPTIONS, on_messages=chunks.put_nowait)
        subscribing = asyncio.create_task(_subscribe(connection))
        peer = await nsqd.accept()
        await peer.subscribed()
        await subscribing
        peer.send(message_frame(body=b"1") + frame(0, b"_heartbeat_") + message_frame(body=b"2"))
        assert [message.body for message in await chunks.get()] == [b"1", b"2"]
        await peer.expect(b"NOP\n")
        connection.close()

    async def test_after_close_nothing_is_handed_on(self, nsqd: FakeNsqd) -> None:
        bodies: list[bytes] = []

        def on_message(message: Message) -> None:
            bodies.append(message.body)
            connection.close()

        connection = Connection(nsqd.address, OPTIONS, on_messages=one_by_one(on_message))
        subscribing = asyncio.create_task(_subscribe(connection))
        peer = await nsqd.accept()
        await peer.subscribed()
        await subscribing
        peer.send(message_frame(body=b"1"))
        await peer.expect_end()
        assert bodies == [b"1"]


class TestHeartbeats:
    async def test_a_heartbeat_is_answered_while_messages_are_held(self, live: Subscribed) -> None:
        held = await live.message()
        live.peer.respond(b"_heartbeat_")
        await live.peer.expect(b"NOP\n")
        assert held.finish()

    async def test_an_nsqd_that_has_fallen_silent_is_lost(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, OPTIONS)
        connection.heartbeat_s = 0.01
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.shake_hands()
        await opening
        async with asyncio.timeout(PATIENCE_S):
            error = await connection.wait_closed()
        assert "two heartbeats" in str(error)
        await peer.expect_end()

    async def test_a_loop_that_was_blocked_does_not_take_nsqd_for_silent(self, nsqd: FakeNsqd) -> None:
        """Pynsq's stale timer looks at the clock, and closes a connection whose data waits to be read."""
        connection = Connection(nsqd.address, OPTIONS)
        connection.heartbeat_s = 0.05
        opening = asyncio.create_task(connection.open())
        peer = await nsqd.accept()
        await peer.shake_hands()
        await opening
        for _ in range(3):
            peer.respond(b"_heartbeat_")
            time.sleep(0.2)  # noqa: ASYNC251 - a handler that blocks the loop for four heartbeats
            await peer.expect(b"NOP\n")
        assert not connection.closed()
        connection.close()


class TestErrorFrames:
    @pytest.mark.parametrize("command", ["FIN", "REQ", "TOUCH"])
    async def test_an_answer_that_came_too_late_is_reported_and_nothing_else(
        self, live: Subscribed, command: str
    ) -> None:
        live.peer.refuse(f"E_{command}_FAILED {command} {ID.decode()} failed ID not in flight".encode())
        await live.message()
        assert live.failures == [command]
        assert not live.connection.closed()

    async def test_any_other_error_frame_ends_the_connection(self, live: Subscribed) -> None:
        message = await live.message()
        live.peer.refuse(b"E_INVALID RDY count 9999 out of range")
        error = await live.ended()
        assert isinstance(error, RefusedError)
        assert error.code == "E_INVALID"
        assert not message.finish()

    async def test_a_refusal_fails_the_request_that_it_answers_and_loses_the_others(
        self, nsqd: FakeNsqd
    ) -> None:
        """Pynsq's Writer fails every waiting publish with the error of one."""
        connection, opening, peer = await _opening(nsqd)
        await peer.shake_hands()
        await opening
        requests = [connection.request(b"NOP\n") for _ in range(3)]
        await peer.expect(*[b"NOP\n"] * 3)
        peer.respond()
        peer.refuse(b"E_BAD_TOPIC PUB topic name is not valid")
        first, second, third = await asyncio.gather(*requests, return_exceptions=True)
        assert first == b"OK"
        assert isinstance(second, RefusedError)
        assert isinstance(third, ConnectionLostError)

    async def test_an_answer_to_a_request_that_was_given_up_does_not_reach_the_next(
        self, live: Subscribed
    ) -> None:
        given_up = live.connection.request(b"NOP\n")
        waiting = live.connection.request(b"NOP\n")
        await live.peer.expect(b"NOP\n", b"NOP\n")
        given_up.cancel()
        live.peer.respond(b"first")
        live.peer.respond(b"second")
        assert await waiting == b"second"

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            pytest.param(struct.pack(">ii", -5, 0), "-5 bytes", id="a negative size"),
            pytest.param(frame(9, b"?"), "type 9", id="an unknown frame type"),
            pytest.param(frame(2, b"short"), "invalid answer", id="a message without a body"),
            pytest.param(frame(0, b"OK"), "unexpected answer", id="an answer to no request"),
        ],
    )
    async def test_frames_that_make_no_sense_end_the_connection(
        self, live: Subscribed, data: bytes, problem: str
    ) -> None:
        live.peer.send(data)
        assert problem in str(await live.ended())
        await live.peer.expect_end()


class TestLoss:
    @pytest.mark.parametrize("sent", [b"", b"\x00\x00", message_frame()[:8], message_frame()[:-1]], ids=len)
    async def test_a_connection_that_ends_anywhere_in_a_frame_is_lost(
        self, live: Subscribed, sent: bytes
    ) -> None:
        message = await live.message()
        live.peer.send(sent)
        await live.peer.close()
        assert isinstance(await live.ended(), ConnectionLostError)
        assert live.messages.empty()
        assert not message.finish()

    async def test_an_nsqd_that_closes_only_its_side_is_lost(self, live: Subscribed) -> None:
        message = await live.message()
        live.peer.writer.write_eof()
        assert "closed by the other side" in str(await live.ended())
        assert not message.requeue(1.0)
        await live.peer.expect_end()

    async def test_messages_before_the_end_are_handed_on(self, live: Subscribed) -> None:
        live.peer.send(message_frame(body=b"last"))
        live.peer.writer.write_eof()
        await live.ended()
        assert (await live.messages.get()).body == b"last"

    async def test_after_a_reset_no_answer_is_taken(self, live: Subscribed) -> None:
        first, second = await live.message(), await live.message()
        live.peer.reset()
        first.finish()
        await live.ended()
        assert second.is_lost()
        assert not second.finish()

    async def test_a_waiting_request_fails_with_the_connection(self, live: Subscribed) -> None:
        request = live.connection.request(b"NOP\n")
        await live.peer.expect(b"NOP\n")
        await live.peer.close()
        with pytest.raises(ConnectionLostError):
            await request
        with pytest.raises(ConnectionLostError):
            await live.connection.request(b"NOP\n")

    async def test_a_disconnect_is_not_logged_here(
        self, live: Subscribed, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Pynsq logs "failed to unpack size" at every disconnect, and tracebacks at refused connects."""
        with caplog.at_level(logging.DEBUG):
            live.peer.reset()
            await live.ended()
            with pytest.raises(ConnectionLostError):
                await Connection("127.0.0.1:1", OPTIONS).open()
        assert [line for line in caplog.records if line.name != "asyncio"] == []


class TestEndOfIntake:
    async def test_after_close_wait_answers_are_still_allowed_and_ready_is_not(
        self, live: Subscribed
    ) -> None:
        first, second = await live.message(), await live.message()
        live.connection.ready(5)
        closing = asyncio.create_task(live.connection.close_wait())
        await live.peer.expect(b"RDY 5\n", b"CLS\n")
        late = await live.message()
        live.peer.respond(b"CLOSE_WAIT")
        await closing
        await live.connection.close_wait()
        live.connection.ready(5)
        assert first.finish()
        assert second.requeue(0)
        assert late.requeue(0)
        req = b"REQ " + ID + b" 0\n"
        await live.peer.expect(FIN, req, req)

    async def test_close_wait_without_a_subscription_sends_nothing(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.shake_hands()
        await opening
        await connection.close_wait()
        connection.close()
        await peer.expect_end()

    async def test_what_was_answered_just_before_half_close_arrives_before_the_end(
        self, live: Subscribed
    ) -> None:
        messages = [await live.message() for _ in range(200)]
        for message in messages:
            message.finish()
        closing = asyncio.create_task(live.connection.half_close(PATIENCE_S))
        await live.peer.expect(*[FIN] * 200)
        await live.peer.expect_end()
        late = await live.message()
        assert late.is_lost()
        assert not late.finish()
        live.peer.respond(b"_heartbeat_")
        assert not closing.done()
        await live.peer.close()
        await closing
        assert live.connection.closed()

    async def test_half_close_ends_in_time_when_nsqd_does_not(self, live: Subscribed) -> None:
        await live.connection.half_close(0.02)
        assert live.connection.closed()
        await live.peer.expect_end()

    async def test_half_close_of_a_lost_connection_is_done_at_once(self, live: Subscribed) -> None:
        live.peer.reset()
        await live.ended()
        await live.connection.half_close(PATIENCE_S)

    async def test_a_cancelled_half_close_closes(self, live: Subscribed) -> None:
        closing = asyncio.create_task(live.connection.half_close(PATIENCE_S))
        await live.peer.expect_end()
        closing.cancel()
        await asyncio.wait({closing})
        assert live.connection.closed()


class TestClose:
    async def test_close_sends_what_was_answered_and_is_no_error(self, live: Subscribed) -> None:
        (await live.message()).finish()
        live.connection.close()
        live.connection.close()
        await live.peer.expect(FIN)
        await live.peer.expect_end()
        assert await live.ended() is None

    async def test_a_connection_that_was_closed_is_not_opened(self, nsqd: FakeNsqd) -> None:
        connection = Connection(nsqd.address, OPTIONS)
        connection.close()
        with pytest.raises(ConnectionLostError, match="closed by this process"):
            await connection.open()
        assert nsqd.is_idle

    async def test_a_connection_is_opened_once(self, live: Subscribed) -> None:
        with pytest.raises(RuntimeError, match="once"):
            await live.connection.open()

    @pytest.mark.parametrize(
        "step",
        [
            pytest.param(lambda _: turns(), id="connecting"),
            pytest.param(lambda nsqd: nsqd.accept(), id="connected"),
        ],
    )
    async def test_a_connection_closed_on_the_way_does_not_become_live(
        self, nsqd: FakeNsqd, step: Callable[[FakeNsqd], Any]
    ) -> None:
        connection = Connection(nsqd.address, OPTIONS)
        opening = asyncio.create_task(connection.open())
        await step(nsqd)
        connection.close()
        with pytest.raises(ConnectionLostError, match="closed by this process"):
            await opening
        assert connection.closed()

    async def test_a_connection_closed_during_the_handshake_does_not_become_live(
        self, nsqd: FakeNsqd
    ) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.identify()
        connection.close()
        with pytest.raises(ConnectionLostError, match="closed by this process"):
            await opening
        await peer.expect_end()

    async def test_a_connection_closed_as_the_handshake_ends_does_not_become_live(
        self, nsqd: FakeNsqd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = Handshake.run

        async def run_and_close(handshake: Handshake) -> None:
            await run(handshake)
            connection.close()

        monkeypatch.setattr(Handshake, "run", run_and_close)
        connection, opening, peer = await _opening(nsqd)
        await peer.shake_hands()
        with pytest.raises(ConnectionLostError, match="closed by this process"):
            await opening
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_a_cancelled_open_closes_the_socket(self, nsqd: FakeNsqd) -> None:
        connection, opening, peer = await _opening(nsqd)
        await peer.identify()
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()
        await peer.expect_end()
        assert connection.closed()

    async def test_nothing_runs_on_after_the_end(self, live: Subscribed) -> None:
        live.connection.close()
        await live.peer.expect_end()
        assert asyncio.all_tasks() == {asyncio.current_task()}

"""pynsq's defects that touch availability: each is named, and has a test that it is gone."""

import ast
import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from nsqkit import Context, Handler, Settings, Worker, event
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq import keepers as module
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.discovery import Endpoints
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.lookup import Lookup
from tests.ports import free_port
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer
from tests.waiting import PATIENCE_S, until

HERE = Path(__file__).parent
LOST = ConnectionLostError("127.0.0.1:4150", "Connection refused")

# What pynsq 0.9.1 does, and the test that stands for it here.
DEFECTS = {
    "a lost connection waits 15 s, or for the next poll": "test_defects: test_a_reconnect_is_tried",
    "all clients of a restarted nsqd come back at the same moment": "test_defects: test_two_clients_do_not",
    "one nsqlookupd is asked per poll": "test_lookup: test_all_are_asked_and_their_answers_united",
    "an nsqlookupd that is down is not made up for": "test_lookup: test_one_that_is_down_is_survived",
    "an answer without producers raises": "test_lookup: test_one_that_fails_is_survived_and_named",
    "an nsqlookupd that names what is not there": "test_defects: test_a_lookup_that_lies",
    "an nsqd that has left nsqlookupd is tried for ever": "test_consumer: test_a_node_that_vanished_is",
    "an nsqd given by address is not tried again": "test_consumer: test_an_nsqd_given_by_address_is_kept",
    "names are looked up on the event loop": "test_dial: test_names_are_looked_up_off_the_loop",
    "only the first address of a name is tried": "test_dial: test_the_next_address_is_tried",
    "IPv6 addresses break": "test_connection: test_an_ipv6_address_in_brackets_works",
    "an nsqd on IPv6 breaks discovery": "test_lookup: test_an_ipv6_node_has_brackets",
    "a connect has no time limit": "test_dial: test_a_connect_that_nobody_answers_ends_in_time",
    "a silent nsqd is waited for": "test_connection: test_a_silent_nsqd_is_lost_in_time",
    "a refused connect logs a traceback": "test_connection: test_a_disconnect_is_not_logged_here",
    "a slow connect is made twice": "test_defects: test_a_slow_nsqd_is_connected_to_once",
    "one of two connections is managed by nobody": "test_consumer: test_an_nsqd_named_twice_is_connected",
    "a given-up TLS handshake leaves its socket": "test_connection: test_a_tls_handshake_that_is_given_up",
    "a closed Reader connects again": "test_consumer: test_a_consumer_that_waits_to_reconnect",
    "a connect in progress outlives close": "test_consumer: test_a_connection_in_progress_at_the_end",
    "close before the start raises": "test_consumer: test_close_before_start_is_final",
    "RDY stays 0 after a pause": "test_consumer: test_resume_restores_ready_while_messages_are_in_flight",
    "the remainder of max_in_flight is lost": "test_consumer: test_the_whole_of_max_in_flight_is_used",
    "idle nsqd keep their share": "test_consumer: test_too_little_for_all_connections_goes_round",
    "a refusal is tried for ever without a word": "test_defects: test_a_refusal_shows_on_readyz_and_in_one",
    "without TLS it goes on in plain text": "test_connection: test_without_the_tls_that_is_wanted",
    "the answer OK skips TLS": "test_connection: test_an_nsqd_that_knows_no_features_is_refused",
    "an nsqd that demands a secret is tried without": "test_connection: test_an_nsqd_that_demands_a_secret",
    "no certificate's name is checked": "test_tls: test_a_certificate_that_is_not_right_is_a_refusal",
    "compression breaks on partial reads": "test_compression: test_what_comes_in_pieces_comes_out_whole",
    "a blocked loop takes nsqd for silent": "test_connection: test_a_loop_that_was_blocked_does_not_take",
    "a failed write of an answer is not told": "test_connection: test_after_a_reset_no_answer_is_taken",
    "an error fails every publish under way": "test_connection: test_a_refusal_fails_the_request",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_its_test(defect: str) -> None:
    file, _, name = DEFECTS[defect].partition(": ")
    found = ast.walk(ast.parse((HERE / f"{file}.py").read_text()))
    tests = [node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert len([test for test in tests if test.startswith(name)]) == 1, f"{file} has not one {name}"


class Log:
    """Takes the lines, and keeps none."""

    def info(self, event: str, /, **fields: object) -> None: ...
    def warning(self, event: str, /, **fields: object) -> None: ...
    def error(self, event: str, /, **fields: object) -> None: ...


def _consumer(*addresses: str, lookup: Lookup | None = None, poll_s: float = 60.0) -> Consumer:
    return Consumer(
        ConsumerOptions(
            topics=("orders",), channel="stock", connection=ConnectionOptions(), max_in_flight=10
        ),
        Endpoints(addresses, lookup, poll_s),
        on_messages=lambda _: None,
        on_settle_failure=lambda _: None,
        log=Log(),
    )


class TestReconnect:
    @pytest.mark.parametrize(
        ("attempts", "shortest_s", "longest_s"),
        [(1, 0.2, 0.25), (2, 0.4, 0.5), (4, 1.6, 2.0), (40, 12.0, 15.0)],
    )
    def test_a_reconnect_is_tried_soon_at_first_and_every_15_s_at_last(
        self, attempts: int, shortest_s: float, longest_s: float
    ) -> None:
        delays_s = [module._retry_in_s(LOST, attempts) for _ in range(200)]
        assert min(delays_s) >= shortest_s
        assert max(delays_s) <= longest_s

    def test_two_clients_do_not_come_back_at_the_same_moment(self) -> None:
        assert len({module._retry_in_s(LOST, 3) for _ in range(10)}) > 1

    def test_a_refusal_is_tried_again_slowly_from_the_first_on(self) -> None:
        """It needs a person; meanwhile nsqd is left in peace."""
        refused = RefusedError("127.0.0.1:4150", "E_SUB_FAILED", "SUB failed")
        assert {module._retry_in_s(refused, attempts) for attempts in (1, 2, 9)} == {15.0}


class TestDiscovery:
    @pytest.fixture
    async def consumers(self) -> AsyncIterator[list[Consumer]]:
        made: list[Consumer] = []
        yield made
        for consumer in made:
            await consumer.close(0.0)

    async def test_a_lookup_that_lies_keeps_nobody_from_the_nsqd_that_is_there(
        self, nsqd: FakeNsqd, consumers: list[Consumer]
    ) -> None:
        nobody = {"broadcast_address": "127.0.0.1", "tcp_port": free_port(), "http_port": 1}
        there = nobody | {"tcp_port": nsqd.port}
        lie = {"producers": [nobody, {"broadcast_address": ""}]}
        async with (
            FakeHttp((200, {"producers": [nobody]})) as wrong,
            FakeHttp((200, lie)) as broken,
            FakeHttp((200, {"producers": [there]})) as honest,
        ):
            consumer = _consumer(lookup=Lookup([wrong.address, broken.address, honest.address]))
            consumers.append(consumer)
            consumer.start()
            await (await nsqd.accept()).subscribed()
            await until(lambda: [source.address for source in consumer.connections] == [nsqd.address])

    async def test_a_slow_nsqd_is_connected_to_once_however_often_it_is_found(
        self, nsqd: FakeNsqd, consumers: list[Consumer]
    ) -> None:
        node = {"broadcast_address": "127.0.0.1", "tcp_port": nsqd.port, "http_port": 1}
        async with FakeHttp((200, {"producers": [node]})) as lookupd:
            consumer = _consumer(lookup=Lookup([lookupd.address]), poll_s=0.01)
            consumers.append(consumer)
            consumer.start()
            peer = await nsqd.accept()
            await peer.identify()  # and no answer yet
            asked = len(lookupd.requests)

            def polled() -> int:
                consumer.poll_now()
                return len(lookupd.requests)

            await until(polled, lambda polls: polls >= asked + 3)
            assert nsqd.is_idle
            peer.respond(b"{}")
            await peer.expect(b"SUB orders stock\n")


@event("defects.happened", version=1, topic="defects")
@dataclass
class Happened:
    n: int = 0


class Work(Handler[Happened], channel="stock", dead_letters=False):
    async def handle(self, happened: Happened, ctx: Context) -> None:
        pass


async def _bad_identify(peer: Peer) -> None:
    await peer.identify()
    peer.refuse(b"E_BAD_BODY IDENTIFY heartbeat interval (1) is invalid")


async def _auth(peer: Peer) -> None:
    await peer.shake_hands(auth_required=True)
    await peer.command()
    peer.refuse(b"E_AUTH_FAILED AUTH failed")


async def _sub(peer: Peer) -> None:
    await peer.shake_hands()
    await peer.command()
    peer.refuse(b"E_SUB_FAILED SUB failed to add client to channel")


async def _too_short(peer: Peer) -> None:
    await peer.shake_hands(max_msg_timeout=1000)


class TestTerminalRefusal:
    @pytest.mark.parametrize(
        ("refuse", "problem"),
        [
            pytest.param(_bad_identify, "E_BAD_BODY IDENTIFY heartbeat interval", id="a bad IDENTIFY"),
            pytest.param(_auth, "E_AUTH_FAILED AUTH failed", id="a wrong secret"),
            pytest.param(_sub, "E_SUB_FAILED SUB failed", id="a refused subscription"),
            pytest.param(_too_short, "raise nsqd's --max-msg-timeout", id="a lease that is too short"),
        ],
    )
    async def test_a_refusal_shows_on_readyz_and_in_one_log_line(
        self, nsqd: FakeNsqd, refuse: object, problem: str
    ) -> None:
        assert callable(refuse)
        port = free_port()
        settings = Settings(nsqd=(nsqd.address,), auth_secret="hush", admin_port=port)
        worker = Worker([Work], settings=settings)
        with structlog.testing.capture_logs() as lines:
            await worker.start()
            await refuse(await nsqd.accept())
            await until(lambda: problem in str(worker.problems()))
            status, body = await asyncio.to_thread(_readyz, port)
            await worker.stop()
        assert (status, body.count("\n")) == (503, 1)
        assert problem in body
        (line,) = [line for line in lines if line["event"] == "nsqd_refused"]
        assert problem in line["error"]
        assert "hush" not in f"{lines} {body}"


def _readyz(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()

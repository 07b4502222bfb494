"""Refusals of a real nsqd: each ends by itself, or names what to change."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from nsqkit import Context, DeadLetter, Exponential, Handler, Outcome, RetryPolicy, Settings, Worker, event
from nsqkit.dead_letters.collector import Collector
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store
from nsqkit.errors import NsqkitError, RefusedError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.http import fetch
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.publisher import NsqdPublisher
from nsqkit.telemetry import logs
from tests.integration.conftest import Server, StartNsqd
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.reading import take, topics
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd
TOPIC = "refusals"
DEAD = f"{TOPIC}.pay.dead"
OPTIONS = ConnectionOptions()
ENLARGED_BY = b"x" * 50


@event("refusals.ordered", version=1, topic=TOPIC)
@dataclass
class Ordered:
    padding: str = ""


class Pay(
    Handler[Ordered],
    channel="pay",
    retry=RetryPolicy(backoff=Exponential(base_s=0.1, max_s=0.1)),
):
    async def handle(self, event: Ordered, ctx: Context) -> Outcome:
        return DeadLetter("no such card")


class Judge(FakeHttp):
    """An auth server."""

    def rule(self, *topics: str) -> None:
        """Allow these topics, as regular expressions; none for a server that is away."""
        rights = [
            {"topic": each, "channels": [".*"], "permissions": ["subscribe", "publish"]} for each in topics
        ]
        found = {"ttl": 1, "identity": "worker", "identity_url": "", "authorizations": rights}
        self._answer = (200, found) if topics else (500, {})


@asynccontextmanager
async def working(**settings: Any) -> AsyncIterator[Worker]:
    worker = Worker([Pay], settings=Settings(**settings))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def publish(nsqd: Server, body: bytes = b"{}") -> None:
    """Publish over HTTP, which needs no permission."""
    url = f"http://{nsqd.http_address}/pub?topic={TOPIC}"
    with await asyncio.to_thread(urllib.request.urlopen, url, body, PATIENCE_S) as answer:
        assert answer.read() == b"OK"


async def dead_letters(nsqd: Server) -> int:
    """Return the number of dead letters in the channel of the collector."""
    channels = (await topics(nsqd.http_address)).get(DEAD, {"channels": []})["channels"]
    return sum(each["message_count"] for each in channels if each["channel_name"] == "dead")


def errors(lines: list[Any], event: str) -> list[Any]:
    return [line for line in lines if line["event"] == event]


class TestAuth:
    @pytest.fixture
    async def judge(self) -> AsyncIterator[Judge]:
        async with Judge(b"") as judge:
            judge.rule(".*")
            yield judge

    @pytest.fixture
    async def nsqd(self, judge: Judge, start_nsqd: StartNsqd) -> Server:
        return await asyncio.to_thread(start_nsqd, f"-auth-http-address={judge.address}")

    @pytest.fixture
    def auth(self, nsqd: Server) -> dict[str, Any]:
        return {"nsqd": (nsqd.tcp_address,), "nsqd_http": (nsqd.http_address,), "auth_secret": "hush"}

    async def test_an_auth_server_that_is_away_blocks_nothing(
        self, judge: Judge, nsqd: Server, auth: dict[str, Any]
    ) -> None:
        with structlog.testing.capture_logs() as lines:
            async with working(**auth) as worker:
                await worker.wait_ready()
                judge.rule()
                await publish(nsqd)
                await until(lambda: len(errors(lines, "message_settled")) >= 2)
                assert "E_AUTH_FAILED" in errors(lines, "message_settled")[0]["detail"]
                assert not worker.is_blocked
                judge.rule(".*")
                await until(lambda: dead_letters(nsqd))
        assert errors(lines, "intake_blocked") == []

    async def test_a_permission_that_is_missing_blocks_until_it_is_given(
        self, judge: Judge, nsqd: Server, auth: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nsqkit.worker.subscription._PROBE_S", 0.2)
        judge.rule(f"^{TOPIC}$", "retry$")
        with structlog.testing.capture_logs() as lines:
            async with working(**auth) as worker:
                await worker.wait_ready()
                await publish(nsqd)
                await until(lambda: worker.is_blocked)
                (problem,) = worker.problems()
                assert DEAD in problem
                assert "E_UNAUTHORIZED" in problem
                assert "must allow it for this auth_secret" in problem
                await until(lambda: len(errors(lines, "intake_blocked")) >= 2)
                judge.rule(".*")
                await until(lambda: not worker.is_blocked)
                await until(lambda: dead_letters(nsqd))
                assert worker.problems() == ()
        assert len(errors(lines, "intake_unblocked")) == 1


async def test_a_dead_letter_channel_with_all_consumers_that_nsqd_allows_is_used(
    start_nsqd: StartNsqd, tmp_path: Path
) -> None:
    nsqd = await asyncio.to_thread(start_nsqd, "-max-channel-consumers=1")
    settings = Settings(nsqd=(nsqd.tcp_address,), nsqd_http=(nsqd.http_address,))
    with Store(tmp_path / "dead.sqlite", make=True) as store:
        await fetch(nsqd.http_address, "/topic/create", method="POST", topic=DEAD)
        await fetch(nsqd.http_address, "/channel/create", method="POST", topic=DEAD, channel="dead")
        collector = Collector(settings, store, log=logs.get_logger(), look_s=0.05)
        collector.start()
        await until(lambda: [each.ready for each in collector._consumers.values()] == [True])
        async with working(nsqd=settings.nsqd, nsqd_http=settings.nsqd_http):
            await publish(nsqd)
            await until(lambda: collector.stored)
        await collector.stop()


class Enlarge(
    Handler[Ordered],
    channel="enlarge",
    max_in_flight=30,
    retry=RetryPolicy(backoff=Exponential(base_s=60.0, max_s=60.0)),
):
    """A handler whose events are larger than its messages; they leave when all messages are here."""

    def __init__(self) -> None:
        self._all_here = asyncio.Barrier(20)

    async def handle(self, event: Ordered, ctx: Context) -> None:
        await self._all_here.wait()
        ctx.publish_raw("enlarged", b"%s%s" % (ENLARGED_BY, event.padding.encode()))


async def test_of_events_that_leave_together_nsqd_gets_all_but_the_one_that_is_too_large(
    start_nsqd: StartNsqd,
) -> None:
    nsqd = await asyncio.to_thread(start_nsqd, "-max-msg-size=1000")
    paddings = ["x" * 960 if n == 7 else str(n) for n in range(20)]
    settings = Settings(nsqd=(nsqd.tcp_address,), nsqd_http=("127.0.0.1:1",))  # so the limit is not known
    with structlog.testing.capture_logs() as lines:
        worker = Worker([Enlarge], settings=settings)
        await worker.start()
        await worker.wait_ready()
        for padding in paddings:
            await publish(nsqd, b'{"padding": "%s"}' % padding.encode())
        await until(lambda: errors(lines, "message_settled"))
        await until(lambda: worker.held == 0)
        await worker.stop()
    (line,) = errors(lines, "message_settled")
    assert line["outcome"] == "requeue"
    assert "E_BAD_MESSAGE" in line["detail"]
    arrived = await take(nsqd.tcp_address, "enlarged", 19)
    assert sorted(arrived) == sorted(ENLARGED_BY + each.encode() for each in paddings if len(each) < 900)


@pytest.mark.parametrize(
    ("flag", "setting"),
    [
        ("-min-output-buffer-timeout=250ms", "output_buffer_ms"),
        ("-max-output-buffer-timeout=24ms", "output_buffer_ms"),
        ("-max-output-buffer-size=16384", "output_buffer_bytes"),
        ("-max-heartbeat-interval=20s", "heartbeat_s"),
        ("-max-msg-timeout=30s", "msg_timeout_s"),
        ("-max-body-size=200", "body too big"),
    ],
)
async def test_a_limit_that_is_too_tight_names_the_setting_and_the_option(
    start_nsqd: StartNsqd, flag: str, setting: str
) -> None:
    nsqd = await asyncio.to_thread(start_nsqd, flag)
    with pytest.raises(RefusedError) as caught:
        await Connection(nsqd.tcp_address, OPTIONS).open()
    assert setting in str(caught.value)
    assert f"-{flag.partition('=')[0]}" in str(caught.value)


async def _consume(address: str) -> str:
    with pytest.raises(NsqkitError) as caught:
        await Connection(address, OPTIONS).open()
    return str(caught.value)


async def _look_up(address: str) -> str:
    (failure,) = (await Lookup([address]).producers(TOPIC)).failures
    return failure


async def _ask(address: str) -> str:
    with pytest.raises(NsqkitError) as caught:
        await fetch(address, "/stats")
    return str(caught.value)


class TestWrongPort:
    """One line says which port it is, and which one is needed."""

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("nsqd http", "this is an HTTP port; give nsqd's TCP port, usually 4150"),
            ("nsqlookupd http", "this is an HTTP port; give nsqd's TCP port, usually 4150"),
            ("nsqlookupd tcp", "this is nsqlookupd's TCP port; give nsqd's TCP port, usually 4150"),
        ],
    )
    async def test_for_nsqd(self, ports: dict[str, str], name: str, line: str) -> None:
        assert await _consume(ports[name]) == f"nsqd {ports[name]}: {line}"

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("nsqd http", "NOT_FOUND (GET /lookup, status 404)"),
            ("nsqd tcp", "this is nsqd's TCP port"),
            ("nsqlookupd tcp", "this is nsqlookupd's TCP port"),
        ],
    )
    async def test_for_nsqlookupd(self, ports: dict[str, str], name: str, line: str) -> None:
        hint = "the HTTP port of nsqd is usually 4151, that of nsqlookupd 4161"
        assert await _look_up(ports[name]) == f"nsqlookupd {ports[name]}: {line}; {hint}"

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("nsqd tcp", "this is nsqd's TCP port"),
            ("nsqlookupd tcp", "this is nsqlookupd's TCP port"),
            ("nsqlookupd http", "NOT_FOUND (GET /stats, status 404)"),
        ],
    )
    async def test_for_nsqds_http(self, ports: dict[str, str], name: str, line: str) -> None:
        hint = "the HTTP port of nsqd is usually 4151, that of nsqlookupd 4161"
        assert (await _ask(ports[name])).endswith(f"{line}; {hint}")

    @pytest.fixture
    def ports(self, nsqd: Server, nsqlookupd: Server) -> dict[str, str]:
        servers = {"nsqd": nsqd, "nsqlookupd": nsqlookupd}
        tcp = {f"{name} tcp": server.tcp_address for name, server in servers.items()}
        return tcp | {f"{name} http": server.http_address for name, server in servers.items()}


async def test_an_nsqd_that_joins_later_takes_records_as_large_as_it_allows(
    nsqlookupd: Server, start_nsqd: StartNsqd, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"lookupd": (nsqlookupd.http_address,), "lookupd_poll_s": 0.1}
    async with working(**settings):
        nsqd = await asyncio.to_thread(start_nsqd, "-max-msg-size=8000000")
        body = b'{"padding": "%s"}' % (b"x" * 2_000_000)
        await publish(nsqd, body)
        await until(lambda: dead_letters(nsqd))
    (letter,) = await collected(Settings(**settings), tmp_path)
    assert letter.is_record
    assert letter.body == body
    assert letter.detail == "no such card"


async def test_an_nsqd_that_comes_back_without_its_data_gets_the_channel_again(
    start_nsqd: StartNsqd, tmp_path: Path
) -> None:
    nsqd = await asyncio.to_thread(start_nsqd)
    settings: dict[str, Any] = {"nsqd": (nsqd.tcp_address,), "nsqd_http": (nsqd.http_address,)}
    async with working(**settings) as worker:
        await publish(nsqd)
        await until(lambda: dead_letters(nsqd))
        await asyncio.to_thread(restart_without_data, nsqd, tmp_path)
        await until(lambda: worker.problems() == ())
        await publish(nsqd)
        await until(lambda: dead_letters(nsqd))
    assert len(await collected(Settings(**settings), tmp_path)) == 1


async def test_dead_letters_of_a_topic_without_a_channel_are_collected(nsqd: Server, tmp_path: Path) -> None:
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    await publisher.publish(DEAD, b"without a channel")
    await publisher.close()
    settings = Settings(nsqd=(nsqd.tcp_address,), nsqd_http=(nsqd.http_address,))
    (letter,) = await collected(settings, tmp_path)
    assert letter.body == b"without a channel"


def restart_without_data(nsqd: Server, folder: Path) -> None:
    nsqd.stop()
    for each in folder.glob("nsqd-*/*"):
        each.unlink()
    nsqd.start()


async def collected(settings: Settings, tmp_path: Path) -> list[Any]:
    """Return all dead letters, as `nsqkit dead collect --exit-when-idle` stores them."""
    with Store(tmp_path / "dead.sqlite", make=True) as store:
        collector = Collector(settings, store, log=logs.get_logger())
        collector.start()
        await collector.wait_idle()
        await collector.stop()
        return [each.letter for each in store.find(Filters())]

"""TLS with a real nsqd: what is spoken, and every certificate that must not be."""

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nsqkit.errors import NsqkitError, PublishError, RefusedError
from nsqkit.nsq import Connection, ConnectionOptions, Message, NsqdHttp, NsqdPublisher, ensure_channel
from nsqkit.nsq.message import one_by_one
from nsqkit.nsq.options import connection_options
from nsqkit.settings.settings import Settings
from tests.certificates import EXPIRED, Authority, Files
from tests.integration.conftest import Server, StartNsqd
from tests.integration.tap import Tap
from tests.ports import free_port
from tests.unit.nsq.fake_http import FakeHttp
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.nsqd
REQUIRED = "-tls-required=tcp-https"  # HTTP, which the fixtures ask, stays open
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
ALLOWED = (
    200,
    {
        "ttl": 3600,
        "identity": "worker",
        "identity_url": "",
        "authorizations": [{"topic": ".*", "channels": [".*"], "permissions": ["subscribe", "publish"]}],
    },
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _flags(files: Files, *more: str) -> tuple[str, ...]:
    https = f"-https-address=127.0.0.1:{free_port()}"
    return (f"-tls-cert={files.certificate}", f"-tls-key={files.key}", https, *more)


def _options(
    authority: Authority, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, **settings: Any
) -> ConnectionOptions:
    """Return what the settings make of it, with no newer version of TLS."""
    options = connection_options(Settings(tls=True, tls_ca_file=str(authority.file), **settings))
    assert options.tls is not None
    options.tls.context.maximum_version = version
    return options


async def _refused(nsqd: Server, options: ConnectionOptions) -> NsqkitError:
    connection = Connection(nsqd.tcp_address, options)
    with pytest.raises(NsqkitError) as caught:
        await connection.open()
    assert connection.closed()
    return caught.value


async def _round_trip(nsqd: Server, options: ConnectionOptions, bodies: list[bytes]) -> None:
    """Publish, consume, answer, and leave as a drain does."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    reader = Connection(nsqd.tcp_address, options, on_messages=one_by_one(messages.put_nowait))
    publisher = NsqdPublisher(nsqd.tcp_address, options)
    await ensure_channel(nsqd.tcp_address, "orders", "stock", options)
    await reader.open()
    await reader.subscribe("orders", "stock")
    reader.ready(100)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(publisher.publish("orders", body) for body in bodies))
        came = [await messages.get() for _ in bodies]
        assert sorted(message.body for message in came) == sorted(bodies)
        assert all(message.finish() for message in came)
        await reader.close_wait()
        await reader.half_close(PATIENCE_S)
    assert "closed by the other side" in str(reader.error)
    await publisher.close()


@pytest.mark.parametrize("compression", ["none", "deflate", "snappy"])
@VERSIONS
async def test_messages_come_and_go_in_tls(
    start_nsqd: StartNsqd, authority: Authority, compression: str, version: ssl.TLSVersion
) -> None:
    nsqd = start_nsqd(*_flags(authority.certificate("127.0.0.1"), REQUIRED))
    options = _options(authority, compression=compression, version=version)
    await _round_trip(nsqd, options, [b"small", b"x" * 1_048_576, bytes(range(256)) * 1000])


@VERSIONS
async def test_answers_written_just_before_half_close_all_reach_nsqd(
    start_nsqd: StartNsqd, authority: Authority, version: ssl.TLSVersion
) -> None:
    """The end of TCP's sending side comes after the last record of TLS, and nsqd reads all before it."""
    nsqd = start_nsqd(*_flags(authority.certificate("127.0.0.1"), REQUIRED))
    options = _options(authority, version=version)
    messages: asyncio.Queue[Message] = asyncio.Queue()
    reader = Connection(nsqd.tcp_address, options, on_messages=one_by_one(messages.put_nowait))
    await reader.open()
    await reader.subscribe("orders", "stock")
    reader.ready(2000)
    publisher = NsqdPublisher(nsqd.tcp_address, options)
    await publisher.publish_many("orders", [b"%d" % n for n in range(2000)])
    await publisher.close()
    async with asyncio.timeout(PATIENCE_S):
        came = [await messages.get() for _ in range(2000)]
        assert all(message.finish() for message in came)
        await reader.half_close(PATIENCE_S)
    assert "closed by the other side" in str(reader.error)
    stats: Any = await NsqdHttp(nsqd.http_address).stats("orders")
    channel = stats["topics"][0]["channels"][0]
    assert channel["depth"] == channel["in_flight_count"] == channel["requeue_count"] == 0
    assert channel["message_count"] == 2000


async def test_an_nsqd_without_tls_is_refused(nsqd: Server, authority: Authority) -> None:
    error = await _refused(nsqd, _options(authority))
    assert isinstance(error, RefusedError)
    assert "no TLS" in str(error)


async def test_an_nsqd_that_demands_tls_says_so_to_a_client_without(
    start_nsqd: StartNsqd, authority: Authority
) -> None:
    nsqd = start_nsqd(*_flags(authority.certificate("127.0.0.1"), REQUIRED))
    with pytest.raises(RefusedError, match="tls=true"):
        await ensure_channel(nsqd.tcp_address, "orders", "stock", ConnectionOptions())


@pytest.mark.parametrize(
    ("names", "expires", "problem"),
    [
        pytest.param(("127.0.0.1",), EXPIRED, "certificate has expired", id="expired"),
        pytest.param(("elsewhere.example",), None, "tls_server_name", id="of another host"),
        pytest.param(("127.0.0.2",), None, "tls_server_name", id="of another address"),
    ],
)
async def test_a_certificate_that_is_not_right_is_refused(
    start_nsqd: StartNsqd, authority: Authority, names: tuple[str, ...], expires: Any, problem: str
) -> None:
    nsqd = start_nsqd(*_flags(authority.certificate(*names, expires=expires)))
    error = await _refused(nsqd, _options(authority))
    assert isinstance(error, RefusedError)
    assert problem in str(error)


async def test_a_certificate_of_an_unknown_authority_is_refused(
    start_nsqd: StartNsqd, authority: Authority, tmp_path: Path
) -> None:
    nsqd = start_nsqd(*_flags(authority.certificate("127.0.0.1")))
    error = await _refused(nsqd, _options(Authority(tmp_path, "other")))
    assert "tls_ca_file" in str(error)
    assert "tls_ca_file" in str(await _refused(nsqd, connection_options(Settings(tls=True))))


async def test_a_certificate_is_checked_for_the_name_that_is_set(
    start_nsqd: StartNsqd, authority: Authority
) -> None:
    nsqd = start_nsqd(*_flags(authority.certificate("nsqd.example")))
    await _round_trip(nsqd, _options(authority, tls_server_name="nsqd.example"), [b"body"])


@VERSIONS
class TestClientCertificate:
    @pytest.fixture
    def nsqd(self, start_nsqd: StartNsqd, authority: Authority) -> Server:
        demand = (f"-tls-root-ca-file={authority.file}", "-tls-client-auth-policy=require-verify")
        return start_nsqd(*_flags(authority.certificate("127.0.0.1"), REQUIRED, *demand))

    async def test_it_is_shown_where_it_is_demanded(
        self, nsqd: Server, authority: Authority, version: ssl.TLSVersion
    ) -> None:
        own = authority.certificate("worker.example")
        files = {"tls_cert_file": str(own.certificate), "tls_key_file": str(own.key)}
        await _round_trip(nsqd, _options(authority, version=version, **files), [b"body"])

    async def test_without_one_nsqds_refusal_names_the_settings(
        self, nsqd: Server, authority: Authority, version: ssl.TLSVersion
    ) -> None:
        error = await _refused(nsqd, _options(authority, version=version))
        assert isinstance(error, RefusedError)
        assert "tls_cert_file" in str(error)

    async def test_one_of_an_unknown_authority_is_refused(
        self, nsqd: Server, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
    ) -> None:
        own = Authority(tmp_path, "other").certificate("worker.example")
        files = {"tls_cert_file": str(own.certificate), "tls_key_file": str(own.key)}
        error = await _refused(nsqd, _options(authority, version=version, **files))
        assert isinstance(error, RefusedError)
        assert "tls_cert_file" in str(error)


async def test_rotated_certificates_are_used_at_the_next_connection(
    start_nsqd: StartNsqd, authority: Authority, tmp_path: Path
) -> None:
    """A new authority signs both sides; the options were made before."""
    old = authority.certificate("worker.example")
    files: Any = {"tls_cert_file": str(old.certificate), "tls_key_file": str(old.key)}
    options = connection_options(Settings(tls=True, tls_ca_file=str(authority.file), **files))
    demand = ("-tls-client-auth-policy=require-verify", REQUIRED)
    nsqd = start_nsqd(
        *_flags(authority.certificate("127.0.0.1"), f"-tls-root-ca-file={authority.file}", *demand)
    )
    await _round_trip(nsqd, options, [b"body"])

    other = Authority(tmp_path, "other")
    own = other.certificate("worker.example")
    rotated = start_nsqd(*_flags(other.certificate("127.0.0.1"), f"-tls-root-ca-file={other.file}", *demand))
    assert "tls_ca_file" in str(await _refused(rotated, options))
    shutil.copy(other.file, authority.file)
    shutil.copy(own.certificate, old.certificate)
    assert "tls_ca_file" in str(await _refused(rotated, options)), "the key does not fit yet"
    shutil.copy(own.key, old.key)
    await _round_trip(rotated, options, [b"body"])


@pytest.fixture
async def tap(start_nsqd: StartNsqd, authority: Authority) -> AsyncIterator[Tap]:
    """A way to an nsqd that demands a secret, and speaks TLS."""
    async with FakeHttp(ALLOWED) as judge:
        flags = _flags(authority.certificate("127.0.0.1"), f"-auth-http-address={judge.address}")
        async with Tap(start_nsqd(*flags).tcp_address) as tap:
            yield tap


async def test_the_secret_and_the_bodies_travel_in_tls_only(tap: Tap, authority: Authority) -> None:
    publisher = NsqdPublisher(tap.address, _options(authority, auth_secret="hush-hush"))
    await publisher.publish("orders", b"the body of a message")
    await publisher.close()
    assert b"IDENTIFY" in tap.sent
    assert b"hush-hush" not in tap.sent
    assert b"the body" not in tap.sent
    assert b"AUTH" not in tap.sent


async def test_the_settings_of_the_page_for_operations_work(
    start_nsqd: StartNsqd, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    blocks = re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [each for each in blocks if "tls = true" in each]
    own = authority.certificate("worker.example")
    folder = tmp_path / "work" / "tls"
    folder.mkdir(parents=True)
    shutil.copy(authority.file, folder / "ca.pem")
    shutil.copy(own.certificate, folder / "worker.pem")
    shutil.copy(own.key, folder / "worker.key")
    (folder / "secret").write_text("hush\n")
    (folder.parent / "nsqkit.toml").write_text(block)
    monkeypatch.chdir(folder.parent)
    async with FakeHttp(ALLOWED) as judge:
        nsqd = start_nsqd(
            *_flags(authority.certificate("127.0.0.1"), REQUIRED),
            f"-tls-root-ca-file={authority.file}",
            "-tls-client-auth-policy=require-verify",
            f"-auth-http-address={judge.address}",
        )
        await _round_trip(nsqd, connection_options(Settings.load(env={})), [b"body" * 1000])
        assert all("secret=hush" in request and "tls=true" in request for request in judge.requests)


async def test_the_secret_stays_here_when_nsqds_certificate_is_not_right(
    tap: Tap, authority: Authority, tmp_path: Path
) -> None:
    options = _options(Authority(tmp_path, "other"), auth_secret="hush-hush")
    publisher = NsqdPublisher(tap.address, options)
    with pytest.raises(PublishError, match="tls_ca_file") as caught:
        await publisher.publish("orders", b"body")
    await publisher.close()
    assert not caught.value.permanent
    assert b"hush-hush" not in tap.sent

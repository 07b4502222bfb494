"""TLS as a layer of bytes, its settings, and what its failures say."""

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as pem

from nsqkit.errors import ConnectionLostError, RefusedError, SettingsError
from nsqkit.nsq.tls import Tls, TlsLayer, tls_failure, tls_of
from nsqkit.settings.settings import Settings
from tests.certificates import EXPIRED, Authority, Files

HOST = "nsqd.example"


class Server:
    """The other end, without a socket."""

    def __init__(self, files: Files) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def answer(self, data: bytes) -> bytes:
        """Go on with the handshake."""
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLError):
            self.tls.do_handshake()
        return self.outgoing.read()


def _client(authority: Authority, **settings: Any) -> TlsLayer:
    tls = tls_of(Settings(tls=True, tls_ca_file=str(authority.file), **settings))
    assert tls is not None
    return TlsLayer(tls, HOST)


def _shake_hands(client: TlsLayer, server: Server) -> None:
    data = b""
    while not client.shake_hands(data):
        data = server.answer(client.encode(b""))
    assert client.decode(server.answer(client.encode(b""))) == b""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class TestLayer:
    @pytest.mark.parametrize("piece_bytes", [1, 999, 1 << 22])
    def test_what_comes_in_pieces_comes_out_whole(self, authority: Authority, piece_bytes: int) -> None:
        client, server = _client(authority), Server(authority.certificate(HOST))
        _shake_hands(client, server)
        body = b"body" * 20_000
        left = memoryview(body)
        while left:
            left = left[server.tls.write(left) :]
        sent = server.outgoing.read()
        pieces = [sent[start : start + piece_bytes] for start in range(0, len(sent), piece_bytes)]
        assert b"".join(map(client.decode, pieces)) == body

    def test_all_of_a_long_body_is_sent(self, authority: Authority) -> None:
        client, server = _client(authority), Server(authority.certificate(HOST))
        _shake_hands(client, server)
        body = b"x" * 1_048_576
        server.incoming.write(client.encode(body))
        came = bytearray()
        while len(came) < len(body):
            came += server.tls.read(65536)
        assert came == body

    def test_what_was_changed_on_the_way_is_an_error(self, authority: Authority) -> None:
        client, server = _client(authority), Server(authority.certificate(HOST))
        _shake_hands(client, server)
        server.tls.write(b"body")
        sent = bytearray(server.outgoing.read())
        sent[-1] ^= 1
        with pytest.raises(ssl.SSLError):
            client.decode(bytes(sent))

    def test_the_end_of_tls_is_nothing_more(self, authority: Authority) -> None:
        client, server = _client(authority), Server(authority.certificate(HOST))
        _shake_hands(client, server)
        server.tls.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            server.tls.unwrap()
        assert client.decode(server.outgoing.read()) == b"last"
        assert client.decode(b"") == b""

    def test_versions_before_1_2_are_not_spoken(self, authority: Authority) -> None:
        tls = tls_of(Settings(tls=True, tls_ca_file=str(authority.file)))
        assert tls is not None
        assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


class TestFailure:
    @pytest.mark.parametrize(
        ("name", "expires", "settings", "problem"),
        [
            pytest.param(HOST, EXPIRED, {}, "certificate has expired", id="expired"),
            pytest.param(
                "other.example", None, {}, "Hostname mismatch.*tls_server_name", id="of another host"
            ),
            pytest.param(
                HOST,
                None,
                {"tls_server_name": "x.example"},
                "x.example.*tls_server_name",
                id="not of the name set",
            ),
        ],
    )
    def test_a_certificate_that_is_not_right_is_a_refusal_that_says_what_to_change(
        self, authority: Authority, name: str, expires: object, settings: dict[str, str], problem: str
    ) -> None:
        client = _client(authority, **settings)
        server = Server(authority.certificate(name, expires=expires))  # type: ignore[arg-type]  # a date or none
        with pytest.raises(ssl.SSLError) as caught:
            _shake_hands(client, server)
        error = tls_failure("nsqd:4150", caught.value)
        assert isinstance(error, RefusedError)
        assert not error.permanent
        with pytest.raises(RefusedError, match=problem):
            raise error

    def test_an_unknown_authority_is_a_refusal_that_names_the_setting(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        with pytest.raises(ssl.SSLError) as caught:
            _shake_hands(_client(Authority(tmp_path, "other")), Server(authority.certificate(HOST)))
        assert "tls_ca_file" in str(tls_failure("nsqd:4150", caught.value))

    def test_what_is_no_tls_is_a_lost_connection(self, authority: Authority) -> None:
        with pytest.raises(ssl.SSLError) as caught:
            _client(authority).shake_hands(b"\x00\x00\x00\x06\x00\x00\x00\x00OK")
        error = tls_failure("nsqd:4150", caught.value)
        assert isinstance(error, ConnectionLostError)
        assert "TLS failed: wrong version number" in str(error)

    def test_an_error_without_a_reason_is_told_as_it_is(self) -> None:
        assert "TLS failed: odd" in str(tls_failure("nsqd:4150", ssl.SSLError("odd")))


class TestSettings:
    def test_off_is_none(self) -> None:
        assert tls_of(Settings()) is None

    def test_the_systems_authorities_are_trusted_where_none_are_named(self) -> None:
        tls = tls_of(Settings(tls=True))
        assert tls is not None
        assert (tls.context.verify_mode, tls.context.check_hostname) == (ssl.CERT_REQUIRED, True)

    def test_a_client_certificate_may_have_its_key_in_the_same_file(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        files = authority.certificate("worker.example")
        both = tmp_path / "both.pem"
        both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
        assert isinstance(tls_of(Settings(tls=True, tls_cert_file=str(both))), Tls)

    @pytest.mark.parametrize("name", ["tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name"])
    def test_a_setting_of_tls_while_it_is_off_is_an_error(self, name: str) -> None:
        """Who sets one takes the connection for private."""
        with pytest.raises(SettingsError, match=f"{name} is set.*tls=true"):
            tls_of(Settings(**{name: "x"}))  # type: ignore[arg-type]  # each is a text

    def test_a_key_without_a_certificate_is_an_error(self) -> None:
        with pytest.raises(SettingsError, match="tls_key_file is set without tls_cert_file"):
            tls_of(Settings(tls=True, tls_key_file="x"))

    @pytest.mark.parametrize("name", ["tls_ca_file", "tls_cert_file"])
    def test_a_file_that_is_not_there_is_an_error_that_names_the_setting(
        self, name: str, tmp_path: Path
    ) -> None:
        missing = str(tmp_path / "missing.pem")
        with pytest.raises(SettingsError, match=f"{name}: {missing}: No such file"):
            tls_of(Settings(tls=True, **{name: missing}))  # type: ignore[arg-type]  # each is a text

    @pytest.mark.parametrize("name", ["tls_ca_file", "tls_cert_file"])
    def test_a_file_that_is_no_certificate_is_an_error_that_names_the_setting(
        self, name: str, tmp_path: Path
    ) -> None:
        wrong = tmp_path / "wrong.pem"
        wrong.write_text("no certificate")
        with pytest.raises(SettingsError, match=f"{name}: {wrong}: not .*PEM"):
            tls_of(Settings(tls=True, **{name: str(wrong)}))  # type: ignore[arg-type]  # each is a text

    def test_a_key_of_another_certificate_is_an_error(self, authority: Authority) -> None:
        one, other = authority.certificate("one.example"), authority.certificate("other.example")
        with pytest.raises(
            SettingsError, match=r"tls_cert_file and tls_key_file: .*one\.example.*other\.example"
        ):
            tls_of(Settings(tls=True, tls_cert_file=str(one.certificate), tls_key_file=str(other.key)))

    def test_a_key_with_a_passphrase_is_an_error_and_nobody_is_asked_for_it(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        files = authority.certificate("worker.example")
        key = pem.load_pem_private_key(files.key.read_bytes(), None)
        locked = tmp_path / "locked.key"
        locked.write_bytes(
            key.private_bytes(
                pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, pem.BestAvailableEncryption(b"hush")
            )
        )
        with pytest.raises(SettingsError, match="without a passphrase"):
            tls_of(Settings(tls=True, tls_cert_file=str(files.certificate), tls_key_file=str(locked)))

"""Access: who may ask the admin port for what."""

from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from nsqkit import Settings
from nsqkit.admin.access import Access
from nsqkit.errors import SettingsError
from tests.unit.runtime.bench import RecordingLog

ANYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound
TOKEN = "s3cret"


def request(*, host: str = "localhost:9464", token: str | None = None) -> HTTPServerRequest:
    headers = HTTPHeaders({"Host": host})
    if token is not None:
        headers.add("Authorization", f"Bearer {token}")
    return HTTPServerRequest(start_line=RequestStartLine("GET", "/metrics", "HTTP/1.1"), headers=headers)


def access(address: str, log: RecordingLog | None = None, **settings: Any) -> Access:
    made = Access(Settings(**settings), log or RecordingLog())
    made.listen(address)
    return made


def status(made: Access, *, is_health: bool = False, **asked: Any) -> int:
    refusal = made.refusal(request(**asked), is_health=is_health)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("address", "admin_token", "health", "without", "wrong", "right"),
    [
        pytest.param("127.0.0.1", None, 200, 200, 200, 200, id="loopback is open"),
        pytest.param("127.1.2.3", None, 200, 200, 200, 200, id="all of 127/8 is loopback"),
        pytest.param("::1", None, 200, 200, 200, 200, id="IPv6 has one, too"),
        pytest.param("127.0.0.1", TOKEN, 200, 401, 401, 200, id="unless a token is set"),
        pytest.param(ANYWHERE, None, 200, 403, 403, 403, id="beyond it only health is answered"),
        pytest.param("::", None, 200, 403, 403, 403, id="so with IPv6"),
        pytest.param("10.1.2.3", None, 200, 403, 403, 403, id="so on one address"),
        pytest.param(ANYWHERE, TOKEN, 200, 401, 401, 200, id="unless the token is sent"),
    ],
)
def test_who_needs_a_token(
    *, address: str, admin_token: str | None, health: int, without: int, wrong: int, right: int
) -> None:
    made = access(address, admin_token=admin_token)
    assert status(made, is_health=True) == health
    assert status(made) == without
    assert status(made, token="other") == wrong
    assert status(made, token=TOKEN) == right


@pytest.mark.parametrize("token", ["s3cre", "s3crett", "S3CRET", "x" * 10_000])
def test_a_token_that_is_almost_right_is_wrong(token: str) -> None:
    assert status(access("127.0.0.1", admin_token=TOKEN), token=token) == 401


@pytest.mark.parametrize("is_health", [True, False])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("localhost:9464", 200, id="localhost"),
        pytest.param("10.1.2.3:9464", 200, id="an address, as probes send it"),
        pytest.param("[fe80::1]:9464", 200, id="an IPv6 address"),
        pytest.param("worker.example.com", 200, id="a name in admin_hosts"),
        pytest.param("here", 200, id="admin_host"),
        pytest.param("rebind.example.org:9464", 403, id="any other name"),
        pytest.param("other", 403, id="a short one, too"),
    ],
)
def test_which_host_a_request_may_name(*, is_health: bool, host: str, expected: int) -> None:
    made = access("127.0.0.1", admin_host="here", admin_hosts=("worker.example.com",))
    assert status(made, is_health=is_health, host=host) == expected


def test_a_refusal_names_the_host_and_the_setting() -> None:
    refusal = access("127.0.0.1").refusal(request(host="rebind.example.org:9464"), is_health=True)
    assert refusal is not None
    assert refusal.message == (
        "not for the host rebind.example.org; use an IP address, or add the name to admin_hosts"
    )


@pytest.mark.parametrize(
    ("address", "admin_token", "lines"),
    [
        pytest.param(ANYWHERE, None, [("warning", "admin_health_only")], id="nothing but health"),
        pytest.param(ANYWHERE, TOKEN, [], id="everything, with the token"),
        pytest.param("127.0.0.1", None, [], id="everything"),
    ],
)
def test_a_port_that_answers_only_health_is_logged(
    address: str, admin_token: str | None, lines: list[tuple[str, str]]
) -> None:
    log = RecordingLog()
    access(address, log, admin_token=admin_token)
    assert [line[:2] for line in log.lines] == lines


class TestFile:
    """A token in a file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "token"
        file.write_text(f"{TOKEN}\n")
        return file

    def test_a_new_token_counts_at_once(self, file: Path) -> None:
        made = access(ANYWHERE, admin_token_file=str(file))
        assert status(made, token=TOKEN) == 200
        file.write_text("other\n")
        assert (status(made, token=TOKEN), status(made, token="other")) == (401, 200)

    @pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"two words"])
    def test_while_it_cannot_be_used_the_token_before_counts(self, file: Path, content: bytes | None) -> None:
        log = RecordingLog()
        made = access(ANYWHERE, log, admin_token_file=str(file))
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        assert [status(made, token=TOKEN), status(made, token="other"), status(made)] == [200, 401, 401]
        ((level, event, fields),) = log.lines
        assert (level, event) == ("warning", "credentials_unusable")
        assert fields["error"].startswith("admin_token_file: ")
        file.write_text("other")
        assert status(made, token="other") == 200


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param({"admin_token": "two words"}, "admin_token: only letters", id="a token nobody can send"),
        pytest.param({"admin_token_file": "/nowhere"}, "admin_token_file: /nowhere: No such", id="no file"),
        pytest.param(
            {"admin_hosts": ("worker:9464",)}, "admin_hosts: 'worker:9464' is not a host name", id="a port"
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        Access(Settings(**settings), RecordingLog())
    assert "two words" not in str(caught.value)

"""Which hosts a request to the admin port may name."""

import pytest

from nsqkit.policy.web_host import host_problem, is_trusted_host


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1.",
        "10.1.2.3",
        "::1",
        "[::1]",
        "[FE80::1]",
        "[::ffff:10.1.2.3]",
        "worker.example.com",
        "Worker.Example.COM.",
        "worker",
    ],
)
def test_these_are_trusted(host: str) -> None:
    assert is_trusted_host(host, ("Worker.example.com.", "worker"))


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "..",
        "localhost..",
        "notlocalhost",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "127.0.0.1.nip.io",
        "worker.example.com.evil.org",
        "evil-worker.example.com",
        "router",
        "evil.local",
        "evil.internal",
        "1:2",
        "2130706433",
        "0x7f.1",
        "[127.0.0.1]",
        "[localhost]",
        "localhost,evil.org",
        "localhost:9464",
        "user@localhost",
        "127.0.0.\u0661",
    ],
)
def test_a_web_site_may_have_these_or_they_are_no_hosts(host: str) -> None:
    assert not is_trusted_host(host, ("worker.example.com", ""))


@pytest.mark.parametrize("name", ["worker", "worker.example.com", "worker.example.com.", "10.1.2.3", "::1"])
def test_a_name_that_a_host_header_can_have(name: str) -> None:
    assert host_problem(name) == ""


@pytest.mark.parametrize(
    "name", ["worker:9464", "http://worker", "worker/", "*.example.com", ".example.com", "a b", "[::1]", ""]
)
def test_a_name_that_none_can_have_is_refused(name: str) -> None:
    assert host_problem(name) == f"{name!r} is not a host name: leave out scheme, port, path and wildcards"

"""Which hosts a web site cannot have."""

import pytest

from nsqkit.policy.web_host import is_private_host


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "10.1.2.3",
        "::1",
        "[::1]",
        "worker",
        "worker-0.jobs.svc.cluster.local",
        "worker.internal",
        "worker.example.com",
        "Worker.Example.COM",
    ],
)
def test_these_are_private(host: str) -> None:
    assert is_private_host(host, ("0.0.0.0", "Worker.example.com"))  # noqa: S104 - a name, nothing is bound


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "127.0.0.1.nip.io",
        "worker.example.com.evil.org",
        "evil.notlocal",
        "1:2",
    ],
)
def test_a_web_site_can_have_these(host: str) -> None:
    assert not is_private_host(host, ("worker.example.com",))

import socket

import pytest

from nsqkit.devbroker.listen import address_text, reachable_host


@pytest.mark.parametrize(
    ("address", "text"), [(("127.0.0.1", 1), "127.0.0.1:1"), (("::1", 2, 0, 0), "[::1]:2")]
)
def test_an_ipv6_host_is_bracketed(address: tuple[str | int, ...], text: str) -> None:
    assert address_text(address) == text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])  # noqa: S104  nothing listens there
def test_who_listens_everywhere_is_reached_by_name(host: str) -> None:
    assert reachable_host(host) == socket.gethostname()
    assert reachable_host("127.0.0.1") == "127.0.0.1"

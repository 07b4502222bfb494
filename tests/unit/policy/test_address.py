"""Addresses: what is joined is split again, and everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import SettingsError
from nsqkit.policy.address import is_host, join_address, split_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("nsqd-1.example:4150", ("nsqd-1.example", 4150), id="a name"),
        pytest.param("[fe80::1]:4150", ("fe80::1", 4150), id="IPv6 in brackets"),
        pytest.param("127.0.0.1:65535", ("127.0.0.1", 65535), id="the last port"),
    ],
)
def test_split_address(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((each, True) for each in ("nsqd-1.example", "nsqd_1", "host.", "10.0.0.9", "::1", "fe80::1%eth0")),
        *((each, False) for each in ("", "a b", "a..b", "a@b", "a/b", "a?b", "a,b", "[::1]", "a\x1b")),
        pytest.param("10.0.0.9:4150", False, id="with a port"),
        pytest.param("user:secret@host", False, id="with credentials"),
        pytest.param("fe80::1%\x1b", False, id="a zone that cannot be printed"),
        pytest.param("a." * 128, False, id="over 255 characters"),
    ],
)
def test_is_host(text: str, *, expected: bool) -> None:
    assert is_host(text) is expected


@given(st.text(max_size=30))
def test_split_address_never_fails_otherwise(text: str) -> None:
    try:
        host, port = split_address(text)
    except SettingsError:
        return
    assert host
    assert 1 <= port <= 65535


@pytest.mark.parametrize("address", ["a" * 900_000, "a:" + "9" * 900_000, "a:" + "0" * 900_000 + "1"])
def test_the_error_of_a_long_address_is_short(address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        split_address(address)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("host", "text"),
    [
        pytest.param("nsqd-1.example", "nsqd-1.example:4150", id="a name as it is"),
        pytest.param("::1", "[::1]:4150", id="an IPv6 host in brackets"),
    ],
)
def test_join_address(host: str, text: str) -> None:
    assert join_address(host, 4150) == text
    assert split_address(text) == (host, 4150)

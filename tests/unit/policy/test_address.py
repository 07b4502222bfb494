"""Addresses: what is joined is split again, and everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import SettingsError
from nsqkit.policy.address import join_address, split_address


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

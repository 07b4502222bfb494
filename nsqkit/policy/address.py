"""Addresses: join a host and a port into ``host:port``, and split them again. No names are looked up."""

import ipaddress
import re
from typing import Final

from nsqkit.errors import SettingsError

MAX_PORT: Final = 65535
_MAX_DIGITS: Final = 9
_MAX_SHOWN: Final = 300  # nsqlookupd may name any address
_MAX_HOST: Final = 255
_NAME: Final = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?")


def join_address(host: str, port: int | str) -> str:
    """Return ``host:port``, with an IPv6 host in brackets.

    Args:
        host: A host name or an IP address, without brackets.
        port: 1 to 65535; the range is not checked.
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_host(text: str) -> bool:
    """Return whether a text is a host name or an IP address, without brackets and without a port."""
    if len(text) > _MAX_HOST or not text.isprintable():
        return False
    if ":" not in text:
        return _NAME.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port`` into host and port; an IPv6 host loses its brackets.

    Raises:
        SettingsError: If *address* is not a host and a port in 1..65535.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if "://" in address or "/" in address:
        raise SettingsError(f"address {address[:_MAX_SHOWN]!r}: give host:port, without a scheme or a path")
    if not colon or not bare or re.search(r"\s", bare) or (":" in bare and not bracketed):
        raise SettingsError(
            f"address {address[:_MAX_SHOWN]!r}: give host:port, an IPv6 host in brackets as in [::1]:4150"
        )
    is_number = port.isascii() and port.isdigit() and len(port) <= _MAX_DIGITS
    if not is_number or not 1 <= int(port) <= MAX_PORT:
        raise SettingsError(f"address {address[:_MAX_SHOWN]!r}: the port is not in 1..{MAX_PORT}")
    return bare, int(port)

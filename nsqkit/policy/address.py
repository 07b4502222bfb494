"""Addresses: a host and a port as one text, and back. Pure; no names are looked up."""

import re
from typing import Final

from nsqkit.errors import SettingsError

MAX_PORT: Final = 65535


def join_address(host: str, port: int | str) -> str:
    """Return ``host:port``, an IPv6 host in brackets.

    Args:
        host: A name or an address, without brackets.
        port: 1 to 65535; not checked.
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port`` into host and port; an IPv6 host is in brackets, and is returned without them.

    Raises:
        SettingsError: If it is not an address with a port in 1..65535.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if "://" in address or "/" in address:
        raise SettingsError(f"address {address!r}: give host:port, without a scheme or a path")
    if not colon or not bare or re.search(r"\s", bare) or (":" in bare and not bracketed):
        raise SettingsError(f"address {address!r}: give host:port, an IPv6 host in brackets as in [::1]:4150")
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= MAX_PORT:
        raise SettingsError(f"address {address!r}: the port is not in 1..{MAX_PORT}")
    return bare, int(port)

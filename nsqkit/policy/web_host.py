"""Web hosts: which ``Host`` a request may name, so that no web site can pass its own name off as this server.

A web site may let its name resolve to an address of this server (DNS rebinding); a browser then takes the
answers for the site's own. The ``Host`` header still has the site's name.
"""

import ipaddress
from collections.abc import Iterable

from nsqkit.policy.address import is_host

_LOCALHOST = "localhost"


def is_trusted_host(host: str, names: Iterable[str] = ()) -> bool:
    """Return whether a request may name this host.

    That is true for an IP address, ``localhost``, a name below ``.localhost`` (RFC 6761), and *names*. Upper
    and lower case are the same, and so is a name with a dot at its end.

    Args:
        host: Host of a ``Host`` header without the port; an IPv6 address with or without brackets.
        names: Further hosts to accept.
    """
    host = _plain(host)
    if host in set(map(_plain, names)) | {_LOCALHOST}:
        return bool(host)
    return host.endswith(f".{_LOCALHOST}") or _is_address(host)


def host_problem(name: str) -> str:
    """Return why a name can be in no ``Host`` header without its port; empty if it can.

    Args:
        name: A host name.
    """
    if is_host(name):
        return ""
    return f"{name!r} is not a host name: leave out scheme, port, path and wildcards"


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
        else:
            ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""Web hosts: which ``Host`` a request may name, so that no web site can pass its own name off as this server.

A web site may let its name resolve to an address of this server (DNS rebinding); a browser then takes the
answers for the site's own. The ``Host`` header still has the site's name.
"""

import ipaddress
from collections.abc import Iterable

_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal")
"""Names that cannot be registered in the public DNS (RFC 6761, RFC 6762, ICANN's .internal)."""


def is_private_host(host: str, names: Iterable[str] = ()) -> bool:
    """Return whether no web site can have this host.

    That is true for an IP address, a name without a dot, such as ``localhost`` or the name of a container, a
    name below ``.localhost``, ``.local`` (such as ``worker.jobs.svc.cluster.local``) or ``.internal``, and
    for *names*.

    Args:
        host: Host of a ``Host`` header without the port; an IPv6 address with or without brackets.
        names: Further hosts to accept.
    """
    host = host.lower().removesuffix(".")
    if host in {name.lower() for name in names}:
        return True
    if "." not in host and ":" not in host:
        return bool(host)
    return host.endswith(_PRIVATE_SUFFIXES) or _is_address(host.removeprefix("[").removesuffix("]"))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""Listening sockets: bound before anything is served, with errors that name the option. No protocol."""

import asyncio
import errno
import socket
from collections.abc import Mapping

from nsqkit.errors import SettingsError
from nsqkit.policy.address import join_address

_BACKLOG = 128
_MAX_PORT = 65_535


def check_ports(ports: Mapping[str, int]) -> None:
    """Refuse impossible port numbers.

    Raises:
        SettingsError: If a port is not in 0..65535; the error has its name from *ports*.
    """
    for name, port in ports.items():
        if not 0 <= port <= _MAX_PORT:
            raise SettingsError(f"{name}={port} is not in 0..{_MAX_PORT}")


async def bind(host: str, ports: Mapping[str, int]) -> list[socket.socket]:
    """Return a listening socket for each port; if one fails, close them all.

    Args:
        host: The address to listen on.
        ports: Each port by the option's name, for errors; 0 for a free port.

    Raises:
        SettingsError: If a port is in use or the host is not an address of this machine.
    """
    bound: list[socket.socket] = []
    for name, port in ports.items():
        try:
            bound.append(await _bind(host, name, port))
        except SettingsError:
            for each in bound:
                each.close()
            raise
    return bound


async def _bind(host: str, name: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        bound = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        problem = f"cannot listen on {host}: {getattr(error, 'strerror', None) or error}"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            problem = f"the port is in use on {host}; choose another, or 0 for a free one"
        raise SettingsError(f"{name}={port}: {problem}") from error
    bound.settimeout(0)  # the servers accept from the loop
    return bound


def address_text(address: tuple[str | int, ...]) -> str:
    """Return a socket's address as ``host:port``, an IPv6 host in brackets."""
    return join_address(str(address[0]), address[1])


def reachable_host(host: str) -> str:
    """Return the host to give to others: *host*, or this machine's name if *host* is every address."""
    return socket.gethostname() if host in {"", "0.0.0.0", "::"} else host  # noqa: S104  only compared


async def close(server: asyncio.Server) -> None:
    """Close a listener.

    A socket that was accepted just before still becomes a connection; asyncio would leave it open
    and forget it.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening)
    await asyncio.sleep(0)
    server.close()

"""Nodes: which nsqd the settings name, or nsqlookupd knows."""

from nsqkit.nsq.lookup import Lookup
from nsqkit.policy.errors import SettingsError
from nsqkit.settings import Settings, split_address


async def target_address(settings: Settings) -> str:
    """Return the nsqd to publish to: the first that is named, or the first that nsqlookupd knows.

    Raises:
        SettingsError: If none is named and none is known.
    """
    if settings.nsqd:
        return settings.nsqd[0]
    if not settings.lookupd:
        raise SettingsError("no nsqd to publish to: give --nsqd host:4150 or --lookupd host:4161")
    found = await Lookup(settings.lookupd).nodes()
    if not found.nodes:
        why = "; ".join(found.failures) or "it knows no nsqd"
        raise SettingsError(f"no nsqd to publish to: nsqlookupd {', '.join(settings.lookupd)}: {why}")
    return min(node.address for node in found.nodes)


async def tcp_addresses(settings: Settings) -> tuple[str, ...]:
    """Return the TCP addresses of all nsqd that are named or known."""
    known = await Lookup(settings.lookupd).nodes() if settings.lookupd else None
    found = {node.address for node in known.nodes} if known else set()
    return tuple(sorted({*settings.nsqd, *found}))


async def http_addresses(settings: Settings) -> tuple[str, ...]:
    """Return the HTTP addresses of the nsqd: as set, as nsqlookupd says, else the port above TCP's."""
    if settings.nsqd_http:
        return settings.nsqd_http
    known = await Lookup(settings.lookupd).nodes() if settings.lookupd else None
    found = {node.http_address for node in known.nodes} if known else set()
    for address in settings.nsqd:
        host, port = split_address(address)
        found.add(f"[{host}]:{port + 1}" if ":" in host else f"{host}:{port + 1}")
    return tuple(sorted(found))

"""Nodes: find nsqd from the settings and nsqlookupd, and their message size limit."""

import asyncio
from typing import Final

from nsqkit.errors import LookupFailedError, NsqkitError, SettingsError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import Lookup, LookupResult, Node
from nsqkit.policy.address import join_address, split_address
from nsqkit.settings.settings import Settings

_MOST_ASKED: Final = 100


def lookup_of(settings: Settings) -> Lookup | None:
    """Return a client of the nsqlookupd in the settings; None if there are none."""
    return Lookup(settings.lookupd, settings.connect_timeout_s) if settings.lookupd else None


async def looked_up(settings: Settings) -> LookupResult:
    """Return all nsqd that nsqlookupd knows, and failures; an empty result without nsqlookupd."""
    lookup = lookup_of(settings)
    return await lookup.nodes() if lookup else LookupResult(frozenset(), ())


async def target_address(settings: Settings) -> str:
    """Return the nsqd to publish to: the first in the settings, or the first that nsqlookupd knows.

    Raises:
        SettingsError: If the settings name neither nsqd nor nsqlookupd.
        LookupFailedError: If nsqlookupd does not answer, or knows no nsqd.
    """
    if settings.nsqd:
        return settings.nsqd[0]
    lookup = lookup_of(settings)
    if lookup is None:
        raise SettingsError("no nsqd to publish to: give --nsqd host:4150 or --lookupd host:4161")
    found = await lookup.nodes()
    if not found.nodes:
        asked = " and ".join(settings.lookupd)
        why = "; ".join(found.failures) or f"nsqlookupd {asked} knows no nsqd to publish to"
        raise LookupFailedError(asked, why)
    return min(node.address for node in found.nodes)


async def tcp_addresses(settings: Settings, known: LookupResult | None = None) -> tuple[str, ...]:
    """Return the TCP addresses of all nsqd in the settings or known to nsqlookupd.

    Args:
        settings: Settings with the addresses of nsqd and nsqlookupd.
        known: Result of an earlier lookup; by default nsqlookupd is asked.
    """
    found = {node.address for node in (known or await looked_up(settings)).nodes}
    return tuple(sorted({*settings.nsqd, *found}))


async def http_addresses(settings: Settings, known: LookupResult | None = None) -> tuple[str, ...]:
    """Return the HTTP addresses of all nsqd.

    The setting ``nsqd_http`` wins. Without it, nsqlookupd gives the HTTP addresses of the nsqd that it knows,
    and an nsqd in the settings has its HTTP port right above its TCP port.

    Args:
        settings: Settings with the addresses of nsqd and nsqlookupd.
        known: Result of an earlier lookup; by default nsqlookupd is asked.
    """
    if settings.nsqd_http:
        return settings.nsqd_http
    nodes = (known or await looked_up(settings)).nodes
    found = {node.http_address for node in nodes if node.http_address}
    return tuple(sorted(found.union(map(_usual_http, settings.nsqd))))


async def nodes_of(topic: str, settings: Settings) -> LookupResult:
    """Return the nsqd in the settings, and those that have a topic according to nsqlookupd.

    Raises:
        SettingsError: If there are HTTP addresses in the settings, but not one for each nsqd.
    """
    named, lookup = _named(settings), lookup_of(settings)
    found = await lookup.producers(topic) if lookup else LookupResult(frozenset(), ())
    return LookupResult(found.nodes | named, found.problems)


async def all_nodes(settings: Settings) -> LookupResult:
    """Return the nsqd in the settings, and all that nsqlookupd knows.

    Raises:
        SettingsError: If there are HTTP addresses in the settings, but not one for each nsqd.
    """
    named, found = _named(settings), await looked_up(settings)
    return LookupResult(found.nodes | named, found.problems)


def configured_http(settings: Settings) -> dict[str, str]:
    """Return the HTTP address of each nsqd in the settings: that in ``nsqd_http``, or TCP's port plus one."""
    is_paired = len(settings.nsqd_http) == len(settings.nsqd)
    http = settings.nsqd_http if is_paired else map(_usual_http, settings.nsqd)
    return dict(zip(settings.nsqd, http, strict=True))


def _named(settings: Settings) -> set[Node]:
    http = settings.nsqd_http or tuple(map(_usual_http, settings.nsqd))
    if settings.nsqd and len(http) != len(settings.nsqd):
        raise SettingsError("give --nsqd-http once for each --nsqd, in the same order")
    return {Node(*pair) for pair in zip(settings.nsqd, http, strict=False)}


def _usual_http(address: str) -> str:
    host, port = split_address(address)
    return join_address(host, port + 1)


async def message_limit(settings: Settings) -> int:
    """Return the longest body that every nsqd accepts, in bytes; the setting if no nsqd reports it.

    At most 100 nsqd are asked.
    """
    addresses = await http_addresses(settings)
    limits = await asyncio.gather(*map(_limit_of, addresses[:_MOST_ASKED]))
    return min((limit for limit in limits if limit), default=settings.max_msg_bytes)


async def _limit_of(address: str) -> int | None:
    try:
        return await NsqdHttp(address).config("max_msg_size")
    except NsqkitError:
        return None

"""Connect: whether both ends of each route are there, for ``nsqkit check --connect``. It carries nothing."""

import asyncio
from collections.abc import Sequence
from typing import Final

from nsqkit.bridge import adapters
from nsqkit.bridge.route import Route
from nsqkit.errors import BridgeError, NsqkitError, OutageError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.nodes import http_addresses
from nsqkit.policy.redaction import redact
from nsqkit.settings.settings import Settings

_OPEN_S: Final = 30.0


def unreachable(routes: Sequence[Route], settings: Settings) -> list[str]:
    """Return what keeps routes from running, one line each; runs an event loop of its own."""

    async def run() -> list[str]:
        found = await asyncio.gather(_nsq_problem(settings), *(_problem(route, settings) for route in routes))
        return [problem for problem in found if problem is not None]

    return asyncio.run(run())


async def _problem(route: Route, settings: Settings) -> str | None:
    make = adapters.source_of if route.is_inbound else adapters.target_of
    end = make(route, settings)
    try:
        async with asyncio.timeout(_OPEN_S):
            await end.open()
    except (BridgeError, OutageError) as error:
        return redact(f"{route.where}: {error}")
    except TimeoutError:
        return f"{route.where}: {route.other.label} does not answer within {_OPEN_S:g} s"
    finally:
        await end.close()
    return None


async def _nsq_problem(settings: Settings) -> str | None:
    if not (settings.nsqd or settings.lookupd):
        return "--connect needs an nsqd: give --nsqd HOST:4150 or --lookupd HOST:4161"
    try:
        addresses = await http_addresses(settings)
        await asyncio.gather(*(NsqdHttp(address, settings.connect_timeout_s).ping() for address in addresses))
    except NsqkitError as error:
        return redact(str(error))
    return None if addresses else "nsqlookupd knows no nsqd to publish to"

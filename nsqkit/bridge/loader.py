"""The loader of a bridge: its routes as handlers and companions of a worker, checked; it opens nothing."""

from functools import partial
from pathlib import Path
from typing import Any

from nsqkit.bridge import adapters
from nsqkit.bridge.file import Bridge, read_bridge
from nsqkit.bridge.inbound import Inbound
from nsqkit.bridge.outbound import handler_of
from nsqkit.bridge.route import Route
from nsqkit.errors import LoadError
from nsqkit.handler.resources import Resource
from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.checks import check
from nsqkit.loading.loader import LoadedModules
from nsqkit.settings.settings import Settings
from nsqkit.worker.parts import CompanionParts, MakeCompanion


def load_bridge(path: Path, settings: Settings) -> tuple[LoadedModules, tuple[MakeCompanion, ...]]:
    """Return the routes of a file: those from NSQ as handlers with resources, those to NSQ as companions.

    Args:
        path: The file.
        settings: Limits, and how to log in to the other brokers.

    Raises:
        LoadError: If anything is wrong; one line for each problem, with file and route.
    """
    bridge = read_bridge(path)
    if problems := [problem for route in bridge.routes if (problem := adapters.missing(route))]:
        raise LoadError(tuple(problems))
    specs, resources = _handlers(bridge, settings)
    if problems := check(specs, resources, settings):
        raise LoadError(tuple(problems))
    makers = tuple(partial(_inbound, route) for route in bridge.routes if route.is_inbound)
    return LoadedModules(specs, resources), makers


def _handlers(
    bridge: Bridge, settings: Settings
) -> tuple[tuple[HandlerSpec, ...], tuple[Resource[Any], ...]]:
    outward = [route for route in bridge.routes if not route.is_inbound]
    made = [handler_of(route, partial(adapters.target_of, settings=settings)) for route in outward]
    return tuple(handler.spec for handler, _ in made), tuple(target for _, target in made)


def _inbound(route: Route, parts: CompanionParts) -> Inbound:
    return Inbound(route, adapters.source_of(route, parts.settings), parts)

"""Checks: whether handlers can run together in one worker. It does not check single classes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from nsqkit.errors import HandlerError
from nsqkit.events.codec.soundness import problems_of
from nsqkit.events.types import REGISTRY
from nsqkit.events.unreadable import unreadable
from nsqkit.handler.extension import Extension, Layer
from nsqkit.handler.resources import Per, Resource, circle, needs, parameters, provider, with_brought
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.retention import least_retention_s
from nsqkit.settings.settings import Settings


def check(
    specs: Sequence[HandlerSpec],
    resources: Sequence[Resource[Any]],
    settings: Settings,
    middleware: Sequence[Layer] = (),
) -> list[str]:
    """Return the problems of handlers that run together, one line each.

    Args:
        specs: Specs of the handlers.
        resources: Resources that handlers, extensions and other resources may ask for.
        settings: Limits for policies.
        middleware: Extensions of the worker.
    """
    layers = (*middleware, *(layer for spec in specs for layer in spec.middleware))
    used = tuple(_used(specs, layers))
    resources = with_brought(resources, used)
    unsound = {each: found for each in (*resources, *used) if (found := _unsound_resource(each))}
    resources = tuple(each for each in resources if each not in unsound)
    every = tuple(dict.fromkeys((*resources, *(each for each in used if each not in unsound))))
    unmet = [
        *(problem for problems in unsound.values() for problem in problems),
        *_needs(specs, resources, every),
        *_extension_needs(layers, resources),
    ]
    return [
        *_same_subscription(specs),
        *_same_name(specs),
        *(problem for spec in specs for problem in _unwritten(spec)),
        *(problem for spec in specs for problem in _unsound_events(spec)),
        *(problem for spec in specs for problem in _unchosen_unknown(spec)),
        *(problem for spec in specs for problem in _long_delay(spec, settings)),
        *(unmet or [*_circle(every)] or _thread_resources(specs, every)),
    ]


def short_retention(specs: Sequence[HandlerSpec], settings: Settings) -> list[str]:
    """Return a warning for each handler whose inbox forgets an event before its last delivery.

    Args:
        specs: Specs of the handlers.
        settings: For how long the inbox remembers an event.
    """
    found = []
    for spec in specs:
        least_s = least_retention_s(spec.retry, holds_s=spec.holds_s)
        if spec.once is not None and settings.inbox_retention_s < least_s:
            found.append(
                f"{spec.location}: {spec.name}: once=… remembers an event for "
                f"inbox_retention_s={settings.inbox_retention_s:g}, but its retries and a replay may take "
                f"{least_s:.0f} s; raise the setting, or lower max_attempts or max_s of its retry policy"
            )
    return found


def _same_subscription(specs: Sequence[HandlerSpec]) -> Iterator[str]:
    counts = Counter((spec.topic, spec.channel) for spec in specs)
    for (topic, channel), count in counts.items():
        if count > 1:
            same = [spec for spec in specs if (spec.topic, spec.channel) == (topic, channel)]
            names = " and ".join(spec.name for spec in same)
            yield (
                f"{same[-1].location}: {names} have the same topic {topic!r} and channel {channel!r}; "
                "give each its own channel, or write one handler for a union of the events"
            )


def _same_name(specs: Sequence[HandlerSpec]) -> Iterator[str]:
    first: dict[str, HandlerSpec] = {}
    for spec in specs:
        other = first.setdefault(spec.name, spec)
        if other is not spec:
            yield (
                f"{spec.location}: {spec.name} is also the name of the handler at {other.location}; "
                'add name="…" to the class keywords of one, for its logs, metrics and commands'
            )


def _unwritten(spec: HandlerSpec) -> Iterator[str]:
    """Yield the abstract methods of a handler class, also if it does not derive from ``abc.ABC``."""
    named = ((name, getattr(spec.handler, name, None)) for name in dir(spec.handler))
    for name in (name for name, found in named if getattr(found, "__isabstractmethod__", False)):
        yield f"{spec.location}: {spec.name}: method {name} is abstract; define it, or say abstract=True"


def _unsound_events(spec: HandlerSpec) -> Iterator[str]:
    """Yield what in a handler's events cannot be decoded, or not by the rules that they declare."""
    for known in spec.event_types:
        for problem in problems_of(known, spec.codec or known.codec):
            name = getattr(known.model, "__name__", known.model)
            yield f"{spec.location}: {spec.name}: event {name}: {problem}"


def _unsound_resource(resource: Resource[Any]) -> tuple[str, ...]:
    """Return the mistakes in a resource, among them an annotation that cannot be read."""
    try:
        _ = resource.problems or resource.provides
    except HandlerError as error:
        return error.problems
    return resource.problems


def _unchosen_unknown(spec: HandlerSpec) -> Iterator[str]:
    others = [known for known in REGISTRY.on_topic(spec.topic) if known not in spec.event_types]
    lifted = {known.name for known in spec.event_types}
    others = [known for known in others if known.name not in lifted]
    if others and spec.on_unknown is None:
        named = ", ".join(known.wire_type for known in others)
        yield (
            f"{spec.location}: {spec.name}: topic {spec.topic!r} also has {named}; choose "
            'on_unknown="discard", "requeue" or "dead_letter"'
        )


def _long_delay(spec: HandlerSpec, settings: Settings) -> Iterator[str]:
    longest_s = spec.retry.longest_s()
    longer = "; to wait longer, return Requeue(delay_s), which once= makes a row" if spec.once else ""
    if longest_s > settings.max_requeue_delay_s:
        yield (
            f"{spec.location}: {spec.name}: its retry policy waits up to {longest_s:g} s, more than the "
            f"setting max_requeue_delay_s={settings.max_requeue_delay_s:g}; lower max_s of its backoff, "
            f"or the delay of its rule{longer}"
        )


def _needs(
    specs: Sequence[HandlerSpec], resources: Sequence[Resource[Any]], every: Sequence[Resource[Any]]
) -> Iterator[str]:
    for spec in specs:
        if spec.handler.__init__ is not object.__init__:
            yield from _unprovided(f"{spec.location}: {spec.name}", spec.handler.__init__, resources)
    for each in every:
        yield from _unprovided(f"{each.location}: resource {each.name}", each.function, resources, each.per)


def _used(specs: Sequence[HandlerSpec], layers: Sequence[Layer]) -> Iterator[Resource[Any]]:
    """Yield the resources that handlers and extensions name in ``uses``, wherever they are defined."""
    for spec in specs:
        yield from spec.uses
    for layer in layers:
        yield from getattr(layer, "uses", ())


def _extension_needs(layers: Sequence[Layer], resources: Sequence[Resource[Any]]) -> Iterator[str]:
    kinds = dict.fromkeys(each for each in layers if isinstance(each, type) and issubclass(each, Extension))
    for kind in kinds:
        if kind.__init__ is not object.__init__:
            yield from _unprovided(f"extension {kind.__qualname__}", kind.__init__, resources)


def _thread_resources(specs: Sequence[HandlerSpec], resources: Sequence[Resource[Any]]) -> Iterator[str]:
    """Yield where a resource of a thread is asked for on the event loop."""
    for spec in specs:
        runs_on_loop = spec.is_async or spec.run_on_loop
        for each in spec.uses:
            of_threads = [found for found in (each, *needs(each, resources)) if found.per == "thread"]
            if of_threads and (runs_on_loop or each.is_async):
                what = "the handler" if runs_on_loop else f"resource {each.name}"
                yield (
                    f"{spec.location}: {spec.name}: resource {of_threads[0].name} is per thread, and {what} "
                    'runs on the event loop; make it per="message", or use it in a plain def only'
                )


def _circle(resources: Sequence[Resource[Any]]) -> Iterator[str]:
    found = circle(resources)
    if found:
        names = " needs ".join(each.name for each in (*found, found[0]))
        yield f"{found[0].location}: resources need each other: {names}; break the circle"


def _unprovided(
    where: str, function: Any, resources: Sequence[Resource[Any]], per: Per = "worker"
) -> Iterator[str]:
    try:
        wanted = parameters(function)
    except Exception as error:  # noqa: BLE001 - an annotation may be any expression
        yield f"{where}: {unreadable(error, function.__module__)}"
        return
    for name, kind in wanted.items():
        if kind is None:
            yield f"{where}: parameter {name!r} has no type; annotate it with the type that a resource yields"
        elif kind is not Settings and provider(name, kind, resources, per) is None:
            shown = kind.__name__ if isinstance(kind, type) else kind
            scoped = (each for each in resources if each.provides == kind and each.per != "worker")
            if shorter := next(scoped, None):
                yield (
                    f"{where}: parameter {name!r}: resource {shorter.name} is per {shorter.per}; name it in "
                    f"the handler's uses=[{shorter.name}], and get it with ctx.resource({shorter.name})"
                )
                continue
            yield (
                f"{where}: no single resource yields {shown} "
                f"for parameter {name!r}; define a @resource with that type, or import it into the module"
            )

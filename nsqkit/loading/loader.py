"""Loader: from ``handlers.orders`` to checked handlers, with all problems of all of them at once."""

import sys
import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

from nsqkit.errors import LoadError
from nsqkit.events.types import REGISTRY
from nsqkit.handler.context import Middleware
from nsqkit.handler.handler import AnyHandler, HandlerSpec, deferring
from nsqkit.handler.resources import Resource, circle, parameters, provider
from nsqkit.loading.modules import defined, imported, modules_of
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import dead_topic
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.suggestion import suggestion
from nsqkit.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedModules:
    """What the modules to run contain.

    Args:
        handlers: In the order of their definition.
        resources: What handlers and other resources ask for.
        middleware: From the setting ``middleware``, the outermost first.
    """

    handlers: tuple[HandlerSpec, ...]
    resources: tuple[Resource[Any], ...] = ()
    middleware: tuple[Middleware, ...] = ()


@dataclass(frozen=True, slots=True)
class HandlerRow:
    """A handler's effective configuration, as a person or a program reads it; times in seconds.

    Args:
        handler: Class name.
        topic: Source topic.
        channel: Channel.
        events: Wire types, such as ``order.created.v1``.
        kind: ``async``, ``loop``, ``threads:8``, or ``batch:500/2s``: so many messages, within that time.
        retry: The delays between deliveries spelled out, and the rules for certain errors.
        timeout_s: Limit of one call; None where there is none.
        max_in_flight: Messages handled at the same time.
        on_unknown: What becomes of other event types.
        dead_letters: Where dead letters go; None where they are discarded.
        location: ``file:line`` of the class.
        kill_switch: When its intake stops, in words; None for never.
        rate_limit: How many messages start per second, in words; None without a limit.
    """

    handler: str
    topic: str
    channel: str
    events: tuple[str, ...]
    kind: str
    retry: str
    timeout_s: float | None
    max_in_flight: int
    on_unknown: str
    dead_letters: str | None
    location: str
    kill_switch: str | None = None
    rate_limit: str | None = None


def load(targets: Sequence[str], settings: Settings) -> LoadedModules:
    """Return the handlers in some modules, checked one by one and together.

    The working directory is importable.

    Args:
        targets: Dotted modules, packages (all of their modules), or ``module:Class``; one or more.
        settings: Bound what policies may ask for.

    Raises:
        LoadError: With all problems, one ``file:line: what; what to change`` each.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    problems: list[str] = []
    token = deferring.set(True)
    try:
        modules, classes = _collect(targets, problems)
        middleware = tuple(_middleware(target, problems) for target in settings.middleware)
    finally:
        deferring.reset(token)
    if not classes and not problems:
        problems.append(f"{', '.join(targets)}: no handler class is defined there")
    resources = resources_in(modules)
    specs = tuple(handler.spec for handler in classes)
    problems += check(specs, resources, settings)
    if problems:
        raise LoadError(tuple(dict.fromkeys(problems)))
    return LoadedModules(specs, resources, tuple(found for found in middleware if found))


def check(specs: Sequence[HandlerSpec], resources: Sequence[Resource[Any]], settings: Settings) -> list[str]:
    """Return what is wrong with handlers taken together, one line per problem."""
    unmet = list(_needs(specs, resources))
    return [
        *_same_subscription(specs),
        *(problem for spec in specs for problem in _unchosen_unknown(spec)),
        *(problem for spec in specs for problem in _long_delay(spec, settings)),
        *(unmet or _circle(resources)),
    ]


def table(specs: Sequence[HandlerSpec], settings: Settings | None = None) -> tuple[HandlerRow, ...]:
    """Return the effective configuration of handlers, a row each."""
    effective = settings or Settings()
    return tuple(_row(spec, effective) for spec in specs)


def resources_in(modules: Sequence[ModuleType]) -> tuple[Resource[Any], ...]:
    """Return the resources that are defined in modules or imported into them."""
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Resource)]
    return tuple(dict.fromkeys(found))


def _collect(
    targets: Sequence[str],
    problems: list[str],
) -> tuple[list[ModuleType], list[type[AnyHandler[Any]]]]:
    modules: list[ModuleType] = []
    classes: dict[type[AnyHandler[Any]], None] = {}
    for target in targets:
        name, _, wanted = target.partition(":")
        found = modules_of(name, problems)
        modules += [module for module in found if module not in modules]
        here = [handler for module in found for handler in defined(module)]
        if wanted:
            here = _only(target, wanted, here, problems) if found else []
        problems += [problem for handler in here for problem in handler.problems]
        classes.update(dict.fromkeys(here))
    return modules, [handler for handler in classes if "spec" in handler.__dict__]


def _only(
    target: str,
    wanted: str,
    here: list[type[AnyHandler[Any]]],
    problems: list[str],
) -> list[type[AnyHandler[Any]]]:
    found = [handler for handler in here if handler.__name__ == wanted]
    if not found:
        names = [handler.__name__ for handler in here]
        problems.append(f"{target}: no handler class {wanted!r} is defined there{suggestion(wanted, names)}")
    return found


def _middleware(target: str, problems: list[str]) -> Middleware | None:
    name, _, attribute = target.partition(":")
    module = imported(name, problems)
    if module is None:
        return None
    found = getattr(module, attribute, None)
    try:
        made = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - a team's class may raise anything
        problems.append(f"middleware {target!r}: {type(error).__name__}: {error}")
        return None
    if not callable(made):
        problems.append(f"middleware {target!r}: give module:name of a middleware class or function")
        return None
    return typing.cast("Middleware", made)


def _same_subscription(specs: Sequence[HandlerSpec]) -> Iterator[str]:
    counts = Counter((spec.topic, spec.channel) for spec in specs)
    for (topic, channel), count in counts.items():
        if count > 1:
            same = [spec for spec in specs if (spec.topic, spec.channel) == (topic, channel)]
            names = " and ".join(spec.name for spec in same)
            yield (
                f"{same[-1].location}: {names} have the same topic {topic!r} and channel {channel!r}; "
                "give each its own channel, or make one handler of a union of events"
            )


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
    if longest_s > settings.max_requeue_delay_s:
        yield (
            f"{spec.location}: {spec.name}: its retry policy waits up to {longest_s:g} s, more than the "
            f"setting max_requeue_delay_s={settings.max_requeue_delay_s:g}; lower max_s of its backoff, "
            "or the delay of its rule"
        )


def _needs(specs: Sequence[HandlerSpec], resources: Sequence[Resource[Any]]) -> Iterator[str]:
    for spec in specs:
        if spec.handler.__init__ is not object.__init__:
            yield from _unprovided(f"{spec.location}: {spec.name}", spec.handler.__init__, resources)
    for each in resources:
        code = each.function.__code__
        where = f"{code.co_filename}:{code.co_firstlineno}: resource {each.name}"
        yield from _unprovided(where, each.function, resources)


def _circle(resources: Sequence[Resource[Any]]) -> Iterator[str]:
    found = circle(resources)
    if found:
        code = found[0].function.__code__
        where = f"{code.co_filename}:{code.co_firstlineno}"
        names = " needs ".join(each.name for each in (*found, found[0]))
        yield f"{where}: resources need each other: {names}; break the circle"


def _unprovided(where: str, function: Any, resources: Sequence[Resource[Any]]) -> Iterator[str]:
    try:
        wanted = parameters(function)
    except NameError as error:
        yield f"{where}: its annotations cannot be read: {error}"
        return
    for name, kind in wanted.items():
        if kind is None:
            yield f"{where}: parameter {name!r} has no type; annotate it with what a resource yields"
        elif kind is not Settings and provider(name, kind, resources) is None:
            shown = kind.__name__ if isinstance(kind, type) else kind
            yield (
                f"{where}: no single resource yields {shown} "
                f"for parameter {name!r}; define a @resource with that type, or import it into the module"
            )


def _row(spec: HandlerSpec, settings: Settings) -> HandlerRow:
    return HandlerRow(
        handler=spec.name,
        topic=spec.topic,
        channel=spec.channel,
        events=tuple(known.wire_type for known in spec.event_types),
        kind=_kind(spec, settings),
        retry=_retry_text(spec),
        timeout_s=None if spec.run_on_loop else spec.timeout_s,
        max_in_flight=spec.slots(settings.threads),
        on_unknown=spec.on_unknown or "requeue",
        dead_letters=dead_topic(spec.topic, spec.channel) if spec.keeps_dead_letters else None,
        location=spec.location,
        kill_switch=_switch_text(spec.kill_switch) if spec.kill_switch else None,
        rate_limit=_rate_text(spec.rate_limit) if spec.rate_limit else None,
    )


def _switch_text(switch: KillSwitch) -> str:
    """Return such as ``at 50% failed of 20 or more in 1m, for 30s to 15m, then 1 trial; not SkuError``."""
    opens = f"at {switch.failure_ratio * 100:g}% failed of {switch.min_messages} or more in"
    lasts = f"{_seconds_text(switch.open_s)} to {_seconds_text(switch.max_open_s)}"
    trials = f"{switch.trials} trial{'s' if switch.trials > 1 else ''}"
    blamed = "" if switch.include == (Exception,) else f"; only {_names(switch.include)}"
    spared = f"; not {_names(switch.exclude)}" if switch.exclude else ""
    return f"{opens} {_seconds_text(switch.window_s)}, for {lasts}, then {trials}{blamed}{spared}"


def _rate_text(limit: RateLimit) -> str:
    burst = f", bursts of {limit.burst}" if limit.burst > 1 else ""
    return f"{limit.per_s:g} messages/s{burst}"


def _names(errors: tuple[type[Exception], ...]) -> str:
    return ", ".join(error.__name__ for error in errors) or "none"


def _kind(spec: HandlerSpec, settings: Settings) -> str:
    if spec.max_messages is not None:
        return f"batch:{spec.max_messages}/{_seconds_text(spec.max_wait_s)}"
    if spec.is_async:
        return "async"
    return "loop" if spec.run_on_loop else f"threads:{spec.threads or settings.threads}"


def _retry_text(spec: HandlerSpec) -> str:
    runs = [(text, len(list(same))) for text, same in groupby(map(_seconds_text, spec.retry.schedule_s()))]
    delays = ", ".join(text if count == 1 else f"{text} × {count}" for text, count in runs)
    after = "dead letter" if spec.keeps_dead_letters else "discard"
    schedule = f"{delays}, then {after}" if delays else f"{after} at once"
    rules = "; ".join(f"{error.__name__}: {outcome}" for error, outcome in spec.retry.on.items())
    return f"{schedule}; {rules}" if rules else schedule


def _seconds_text(delay_s: float) -> str:
    minutes, seconds = divmod(round(delay_s, 3), 60)
    return (f"{minutes:g}m" if minutes else "") + (f"{seconds:g}s" if seconds or not minutes else "")

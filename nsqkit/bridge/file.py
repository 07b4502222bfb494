"""The file of a bridge: reads its routes, and reports all of its mistakes at once. It opens no connection."""

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from nsqkit.bridge.address import Address, KafkaAddress, NsqAddress, RabbitmqAddress
from nsqkit.bridge.route import Route
from nsqkit.bridge.urls import read_address
from nsqkit.bridge.wrapping import attribute_of, header_problem
from nsqkit.errors import LoadError
from nsqkit.handler.options import MAX_IN_FLIGHT, MAX_TIMEOUT_S
from nsqkit.policy.circles import circle
from nsqkit.policy.retry import MAX_ATTEMPTS
from nsqkit.policy.suggestion import suggestion

MAX_DEPTH: Final = 1_000_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME_RULE: Final = "is not a name: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
_DIGEST_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Bridge:
    """The routes of one file.

    Args:
        name: Name that records carry which have passed it.
        routes: The routes in their order; one or more.
    """

    name: str
    routes: tuple[Route, ...]


class _Key(NamedTuple):
    """A key of a route: the field that it sets, its check, and the direction that has it."""

    field: str
    problem: Callable[[Any], str | None]
    is_inbound: bool | None = None


def read_bridge(path: Path) -> Bridge:
    """Return the routes in a file.

    Raises:
        LoadError: If the file or anything in it is wrong; one line for each problem, with file and route.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadError((f"{path}: there is no such file; give the file of a bridge",)) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LoadError((f"{path} cannot be read: {error}",)) from None
    reading = _Reading(str(path), content)
    bridge = reading.bridge()
    if reading.problems:
        raise LoadError(tuple(reading.problems))
    return bridge


class _Reading:
    def __init__(self, file: str, content: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._file = file
        self._content = content

    def bridge(self) -> Bridge:
        for key in self._content:
            if key not in {"name", "route"}:
                hint = suggestion(key, ("name", "route")) or "; there are name and [[route]]"
                self.problems.append(f"{self._file}: there is no key {key!r}{hint}")
        tables = self._content.get("route", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(each, dict) for each in tables):
            self.problems.append(
                f"{self._file}: there is no route; add a table [[route]] with name, from and to"
            )
            return Bridge("", ())
        routes = [route for number, table in enumerate(tables, 1) if (route := self._route(number, table))]
        self.problems += _together(self._file, routes)
        name = self._name(routes)
        return Bridge(name, tuple(replace(route, bridge=name) for route in routes))

    def _name(self, routes: Sequence[Route]) -> str:
        given = self._content.get("name")
        if given is None:
            shape = "\n".join(sorted(f"{each.name} {each.source} {each.target}" for each in routes))
            return f"bridge-{hashlib.sha256(shape.encode()).hexdigest()[:_DIGEST_LENGTH]}"
        if not (isinstance(given, str) and _NAME.fullmatch(given)):
            self.problems.append(f"{self._file}: name={given!r:.60} {_NAME_RULE}")
        return str(given)

    def _route(self, number: int, table: Mapping[str, Any]) -> Route | None:
        name = table.get("name")
        shown = repr(name) if isinstance(name, str) else str(number)
        where = f"{self._file}: route {shown}"
        found = [*_name_problems(name), *_unknown(table)]
        ends = {key: self._end(key, table, found) for key in ("from", "to")}
        found += _wrong_values(table)
        source, target = ends["from"], ends["to"]
        if source is not None and target is not None:
            found += _direction(table, source, target)
        self.problems += [f"{where}: {problem}" for problem in found]
        if found or source is None or target is None:
            return None
        fields = {_KEYS[key].field: _as_field(key, value) for key, value in table.items() if key in _KEYS}
        return Route(file=self._file, bridge="", name=str(name), source=source, target=target, **fields)

    def _end(self, key: str, table: Mapping[str, Any], found: list[str]) -> Address | None:
        text = table.get(key)
        if not isinstance(text, str):
            found.append(f'it has no {key}; add {key} = …, as in {key} = "kafka://HOST:9092/orders"')
            return None
        address, problems = read_address(text, is_source=key == "from")
        found += [f"{key}: {problem}" for problem in problems]
        return address


def _name_problems(name: object) -> Iterator[str]:
    if name is None:
        yield 'it has no name; add name = "…"'
    elif not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"name={name!r:.60} {_NAME_RULE}"


def _unknown(table: Mapping[str, Any]) -> Iterator[str]:
    known = ("name", "from", "to", *_KEYS)
    for key in table:
        if key not in known:
            hint = suggestion(key, known) or f"; there are {', '.join(known)}"
            yield f"there is no key {key!r}{hint}"


def _wrong_values(table: Mapping[str, Any]) -> Iterator[str]:
    for key, about in _KEYS.items():
        if key in table and (problem := about.problem(table[key])) is not None:
            yield f"{key}={table[key]!r:.60} {problem}"
    if table.get("headers") and table.get("wrap") is not True:
        yield "headers are for the envelope that wrap = true adds; add it, or leave them out"


def _direction(table: Mapping[str, Any], source: Address, target: Address) -> Iterator[str]:
    """Yield what does not go together in one route."""
    n_nsq = sum(isinstance(each, NsqAddress) for each in (source, target))
    if n_nsq == 0:
        yield "neither end is NSQ; use two routes with a topic of NSQ between them"
        return
    if n_nsq > 1:
        yield "both ends are NSQ; a handler with ctx.publish, or nsq_to_nsq, does that"
        return
    is_inbound = isinstance(target, NsqAddress)
    for key, about in _KEYS.items():
        if key in table and about.is_inbound is not None and about.is_inbound is not is_inbound:
            yield f"{key} is for routes {'to' if about.is_inbound else 'from'} NSQ; leave it out"
    if "key" in table and isinstance(target, RabbitmqAddress):
        yield "key is for Kafka, and messages of RabbitMQ have none; leave it out"


def _together(file: str, routes: Sequence[Route]) -> Iterator[str]:
    """Yield what is wrong among routes that are right by themselves."""
    names: dict[str, Route] = {}
    for route in routes:
        if names.setdefault(route.name, route) is not route:
            yield f"{file}: two routes have the name {route.name!r}; rename one"
    clusters = _Clusters(routes)
    sources: dict[object, Route] = {}
    for route in routes:
        first = sources.setdefault(clusters.place(route.source, is_reader=True), route)
        if first is not route:
            yield (
                f"{route.where}: route {first.name!r} reads {route.source.label} too, so each would get a "
                "part of the messages; give each its own group, channel or queue, or remove one"
            )
    ends = {each.name: (clusters.place(each.source), clusters.place(each.target)) for each in routes}
    if found := circle(ends):
        way = " -> ".join(repr(name) for name in (*found, found[0]))
        yield f"{file}: messages would go round in a circle: {way}; remove one of these routes"


class _Clusters:
    """Names of the places that routes read and write; clusters of Kafka that share a server are one."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._servers: list[set[str]] = []
        for address in (end for route in routes for end in (route.source, route.target)):
            if isinstance(address, KafkaAddress):
                shared = [each for each in self._servers if each & set(address.servers)]
                self._servers = [each for each in self._servers if each not in shared]
                self._servers.append(set(address.servers).union(*shared))

    def place(self, address: Address, *, is_reader: bool = False) -> object:
        """Return what two routes have in common that meet here; of readers, what they would share."""
        match address:
            case NsqAddress():
                return ("nsq", address.topic, address.channel if is_reader else "")
            case KafkaAddress():
                cluster = next(i for i, each in enumerate(self._servers) if each & set(address.servers))
                return ("kafka", cluster, address.topic, address.group if is_reader else "")
            case RabbitmqAddress():
                host = (address.host, address.port, address.vhost)
                is_exchange = bool(address.exchange)
                name = (
                    (address.exchange, address.routing_key)
                    if is_exchange
                    else (address.queue or address.routing_key)
                )
                return ("rabbitmq", host, is_exchange, name)


def _as_field(key: str, value: Any) -> Any:
    match key:
        case "headers":
            return tuple(value)
        case "key":
            return True
        case "timeout_s":
            return float(value)
        case _:
            return value


def _switch(value: object) -> str | None:
    return None if isinstance(value, bool) else "is neither true nor false"


def _whole(least: int, most: int) -> Callable[[object], str | None]:
    def problem(value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return None
        return f"is not a whole number in {least}..{most}"

    return problem


def _seconds(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_TIMEOUT_S:
        return None
    return f"is not a number of seconds above 0, at most {MAX_TIMEOUT_S:g}"


def _one_of(*choices: str) -> Callable[[object], str | None]:
    def problem(value: object) -> str | None:
        if value in choices:
            return None
        hint = suggestion(value, choices) if isinstance(value, str) else ""
        return f"is not {' or '.join(map(repr, choices))}{hint}"

    return problem


def _headers(value: object) -> str | None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return "is not a list of names of headers"
    names = [attribute_of(each) for each in value]
    if len(set(names)) < len(names):
        return "has two names that become one attribute; leave one out"
    return next((problem for each in value if (problem := header_problem(each))), None)


_KEYS: Final[Mapping[str, _Key]] = {
    "create": _Key("create", _switch),
    "max_depth": _Key("max_depth", _whole(1, MAX_DEPTH), is_inbound=True),
    "wrap": _Key("wrap", _switch, is_inbound=True),
    "headers": _Key("headers", _headers, is_inbound=True),
    "mode": _Key("mode", _one_of("structured", "binary"), is_inbound=False),
    "key": _Key("has_key", _one_of("partitionkey"), is_inbound=False),
    "max_in_flight": _Key("max_in_flight", _whole(1, MAX_IN_FLIGHT), is_inbound=False),
    "timeout_s": _Key("timeout_s", _seconds, is_inbound=False),
    "max_attempts": _Key("max_attempts", _whole(1, MAX_ATTEMPTS), is_inbound=False),
}

"""Log events: which lines nsqkit writes, at which level and with which fields, read from its source."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error", "exception")
_NAME = re.compile(r"[a-z]+(_[a-z]+)+")
_PACKAGE = Path(__file__).parents[2] / "nsqkit"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class LogEvent:
    """One kind of log line.

    Args:
        name: Its event name, such as ``worker_ready``.
        levels: The levels it is logged at, the lowest first.
        fields: Names of the fields that its call gives, in order; those bound before are not among them.
    """

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]


@cache
def log_events() -> tuple[LogEvent, ...]:
    """Return every log event of the package, by name."""
    levels: dict[str, set[str]] = defaultdict(set)
    fields: dict[str, dict[str, None]] = defaultdict(dict)
    for path in sorted(_PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, _Function)):
            for name, found, given in _calls(function):
                levels[name] |= found
                fields[name].update(dict.fromkeys(given))
    return tuple(
        LogEvent(name, tuple(sorted(levels[name], key=LEVELS.index)), tuple(fields[name]))
        for name in sorted(levels)
    )


@cache
def message_fields() -> tuple[str, ...]:
    """Return the fields that every line about one message has: the ``log_fields`` of its delivery."""
    path = _PACKAGE / "runtime" / "message_fields.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, _Function) and node.name == "log_fields":
            return tuple(_keys(node))
    raise LookupError("message_fields.py has no function log_fields: correct message_fields()")


def _calls(function: _Function) -> Iterator[tuple[str, set[str], list[str]]]:
    """Yield name, levels and fields of each log line that a function writes."""
    by_variable = dict(_loggers(function))
    for node in _own(function):
        match node:
            case ast.Call(func=ast.Attribute(attr=level), args=[ast.Constant(value=str(name)), *_]) if (
                level in LEVELS and _NAME.fullmatch(name)
            ):
                yield name, {level}, _given(node, function)
            case ast.Call(func=ast.Name(id=variable), args=[ast.Constant(value=str(name)), *_]) if (
                variable in by_variable and _NAME.fullmatch(name)
            ):
                yield name, by_variable[variable], _given(node, function)
            case ast.Tuple(elts=[ast.Attribute(attr=level), ast.Constant(value=str(name))]) if (
                level in LEVELS and _NAME.fullmatch(name)
            ):
                calls = [each for each in _own(function) if _calls_variable(each)]
                yield name, {level}, [field for each in calls for field in _given(each, function)]


def _own(function: _Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function, those of functions inside it left out."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, _Function):
            waiting = [*ast.iter_child_nodes(node), *waiting]


def _loggers(function: _Function) -> Iterator[tuple[str, set[str]]]:
    """Yield the variables of a function that are methods of a logger, with the levels they may have."""
    for node in _own(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found = {each.attr for each in ast.walk(node.value) if isinstance(each, ast.Attribute)}
            if levels := found.intersection(LEVELS):
                yield node.targets[0].id, levels


def _calls_variable(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(), args=[ast.Name()], keywords=[_, *_]):
            return True
    return False


def _given(call: ast.AST, function: _Function) -> list[str]:
    """Return the names of the fields of a call; ``**delivery.log_fields`` are those of the message."""
    found: list[str] = []
    for keyword in call.keywords if isinstance(call, ast.Call) else ():
        match keyword:
            case ast.keyword(arg=str(name)):
                found.append(name)
            case ast.keyword(value=ast.Attribute(attr="log_fields")):
                found += message_fields()
            case _:
                found += _keys(function)
    return found


def _keys(function: _Function) -> Iterator[str]:
    """Yield the constant keys that a function puts into dictionaries."""
    for node in _own(function):
        match node:
            case ast.Dict(keys=keys):
                yield from (str(key.value) for key in keys if isinstance(key, ast.Constant))
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Store()):
                yield name

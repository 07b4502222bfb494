"""Dropped: find the statements of a handler that certainly lose an outcome or a coroutine. It runs none.

A name whose value is not known before the handler runs is not reported (ADR 0036).
"""

import ast
import inspect
import linecache
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any, get_args

from nsqkit.handler.batch import BatchHandler
from nsqkit.handler.handler import AnyHandler, Handler
from nsqkit.policy.outcome import Outcome


def dropped(handler: type[AnyHandler[Any]]) -> list[str]:
    """Return ``file:line: problem; remedy`` for each expression statement that loses its value.

    Args:
        handler: The handler class; its methods are read, those of the team's base classes too.
    """
    others = {*Handler.__mro__, *BatchHandler.__mro__}
    own = [kind for kind in handler.__mro__ if kind not in others]
    return [problem for kind in own for value in vars(kind).values() for problem in _lost(value, handler)]


def _lost(value: object, handler: type[Any]) -> Iterator[str]:
    function = inspect.unwrap(value) if callable(value) else getattr(value, "__func__", None)
    if not isinstance(function, FunctionType):
        return
    file, first = function.__code__.co_filename, function.__code__.co_firstlineno
    lines = linecache.getlines(file, function.__globals__)  # inspect.getsource looks at every module
    try:
        source = "".join(inspect.getblock(lines[first - 1 :]))
        tree = ast.parse(f"if True:\n{source}" if source[:1].isspace() else f"\n{source}")
    except (SyntaxError, tokenize.TokenError):  # a part of an expression, or not the source that was run
        return
    nodes = list(ast.walk(tree))
    names = _names(function, nodes, None if isinstance(value, staticmethod) else handler)
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = ast.unparse(node.value.func)
            if problem := _problem(call, _resolve(node.value.func, names)):
                yield f"{file}:{first + node.lineno - 2}: {problem}"


def _problem(call: str, called: object) -> str | None:
    if isinstance(called, type) and issubclass(called, get_args(Outcome)):
        return f"{call}(…) is created and dropped; write return {call}(…)"
    if inspect.iscoroutinefunction(called):
        return f"{call}(…) is never awaited; write await {call}(…), in an async def"
    return None


def _names(
    function: FunctionType, nodes: Sequence[ast.AST], handler: type[Any] | None
) -> Mapping[str, object]:
    """Return the values of the names in a function that are known before it runs."""
    names = dict(function.__globals__)
    for name in (*_bound(nodes), *function.__code__.co_freevars):
        names.pop(name, None)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            names[name] = cell.cell_contents
    if handler is not None and function.__code__.co_argcount:
        names[function.__code__.co_varnames[0]] = handler
    return names


def _bound(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Yield the names that a function or a function in it binds, so that their values are not known."""
    for node in nodes:
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _resolve(node: ast.expr, names: Mapping[str, object]) -> object:
    """Return what a dotted name refers to; None if that is not known before it runs."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, names)
        if isinstance(owner, type | ModuleType):
            found = inspect.getattr_static(owner, node.attr, None)
            return getattr(found, "__func__", found)
    return None

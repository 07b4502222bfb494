"""Modules: imports the modules of a target, and reports failures with the line to change.

It does not check the handlers together; ``checks.py`` does that.
"""

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nsqkit.errors import HandlerError, NsqkitError
from nsqkit.handler.group import HandlerGroup
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.origin import place_of
from nsqkit.handler.resources import Resource
from nsqkit.policy.suggestion import suggestion

_PROGRAMS = frozenset({"__main__"})
_NOT_HANDLERS = frozenset({"tests", "migrations"})


def modules_of(name: str, problems: list[str], exclude: Sequence[str] = ()) -> list[ModuleType]:
    """Import a module, and all modules in it if it is a package.

    In a package it skips ``__main__``, which is a program, and the packages ``tests`` and ``migrations``.

    Args:
        name: Dotted name of a module or package.
        problems: Receives a line for each module that cannot be imported.
        exclude: Further modules and packages to skip, by their whole or their last name.
    """
    module = imported(name, problems)
    if module is None:
        return []
    inner = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}.")
    wanted = [info.name for info in inner if not _is_skipped(info, exclude)]
    return [module, *(each for found in wanted for each in modules_of(found, problems, exclude))]


def _is_skipped(info: pkgutil.ModuleInfo, exclude: Sequence[str]) -> bool:
    last = info.name.rpartition(".")[2]
    is_other = last in _PROGRAMS or (info.ispkg and last in _NOT_HANDLERS)
    return is_other or last in exclude or info.name in exclude


def imported(name: str, problems: list[str]) -> ModuleType | None:
    """Import a module and return it, or None if it cannot be imported.

    Args:
        name: Dotted name of the module.
        problems: Receives ``file:line: problem; remedy`` if the import fails.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a team's module may raise anything
        problems += [*_declared(name, error), *_reported(name, error)]
        return None


def defined(module: ModuleType) -> list[type[AnyHandler[Any]]]:
    """Return the handler classes that a module defines, in order, also those of groups; no imported ones."""
    return list(_handlers(vars(module), module.__name__))


def groups_in(module: ModuleType) -> list[type[HandlerGroup]]:
    """Return the groups of handlers that a module defines, in order, without imported ones."""
    return list(_groups(vars(module), module.__name__))


def resources_in(modules: Sequence[ModuleType]) -> tuple[Resource[Any], ...]:
    """Return the resources that modules define or import."""
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Resource)]
    return tuple(dict.fromkeys(found))


def _handlers(names: dict[str, object], module: str) -> Iterator[type[AnyHandler[Any]]]:
    for value in tuple(names.values()):
        if not (isinstance(value, type) and value.__module__ == module):
            continue
        if issubclass(value, AnyHandler):
            yield value
        elif issubclass(value, HandlerGroup):
            yield from value.handlers


def _groups(names: dict[str, object], module: str) -> Iterator[type[HandlerGroup]]:
    for value in tuple(names.values()):
        if isinstance(value, type) and issubclass(value, HandlerGroup) and value.__module__ == module:
            yield value


def _declared(name: str, error: BaseException) -> Iterator[str]:
    """Return the problems of the handler classes that were defined before the module failed."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == name:
            for handler in _handlers(frame.f_globals, name):
                yield from handler.problems
            for group in _groups(frame.f_globals, name):
                yield from group.problems


def _reported(name: str, error: BaseException) -> tuple[str, ...]:
    missing = isinstance(error, ModuleNotFoundError) and error.name
    if name and not name.strip("./"):
        return (f"{name}: give the name of a module or package{_here()}, as in nsqkit run shop.orders",)
    if name.startswith(".") or "/" in name or (missing and name.endswith(".py")):
        return (f"{name}: give a dotted module, not a file; did you mean {_dotted(name)!r}?",)
    if missing and f"{name}.".startswith(f"{missing}."):
        where = f"the working directory is {Path.cwd()}"
        return (f"{name}: there is no module {missing!r}{_neighbours(missing)}; {where}",)
    if isinstance(error, HandlerError):
        return error.problems
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    kind = "" if isinstance(error, NsqkitError) else f"{type(error).__name__}: "
    return (f"{_line(error, name)}: {kind}{said}",)


def _dotted(name: str) -> str:
    path = Path(name)
    inside = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return ".".join(inside.with_suffix("").parts).strip(".")


def _here() -> str:
    names = ", ".join(info.name for info in pkgutil.iter_modules([str(Path.cwd())]))
    return f" of this folder ({names})" if names else ""


def _neighbours(missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", ()) if parent else [str(Path.cwd())]
    prefix = f"{parent}." if parent else ""
    names = [f"{prefix}{info.name}" for info in pkgutil.iter_modules(path)]
    return suggestion(f"{prefix}{last}", names)


def _line(error: BaseException, name: str) -> str:
    """Return ``file:line`` of the innermost line in the team's code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return place_of(error, or_library=True) or name

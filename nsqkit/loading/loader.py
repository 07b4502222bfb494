"""The loader: imports modules, checks their handlers, and reports all mistakes at once. It opens nothing."""

import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nsqkit.errors import LoadError
from nsqkit.handler.extension import Extension, Layer
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.mistakes import deferring
from nsqkit.handler.resources import Resource
from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.checks import check
from nsqkit.loading.modules import defined, groups_in, imported, modules_of, resources_in
from nsqkit.policy.suggestion import suggestion
from nsqkit.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedModules:
    """The handlers, resources and middleware to run.

    Args:
        handlers: Specs of the handlers, in the order of definition.
        resources: Resources that handlers and other resources may ask for.
        middleware: Layers from the setting ``middleware``, the outermost first.
    """

    handlers: tuple[HandlerSpec, ...]
    resources: tuple[Resource[Any], ...] = ()
    middleware: tuple[Layer, ...] = ()


def load(targets: Sequence[str], settings: Settings) -> LoadedModules:
    """Import modules and return their handlers, checked one by one and together.

    The working directory is added to the import path.

    Args:
        targets: Dotted modules, packages (all of their modules), or ``module:Class``; one or more.
        settings: Limits for policies, and the middleware to import.

    Raises:
        LoadError: If anything is wrong; with one ``file:line: problem; remedy`` for each problem.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    problems: list[str] = []
    token = deferring.set(True)
    try:
        modules, classes = _collect(targets, problems, settings.exclude)
        middleware = tuple(_middleware(target, problems) for target in settings.middleware)
    finally:
        deferring.reset(token)
    resources = resources_in(modules)
    problems += [problem for each in resources for problem in each.problems]
    if not classes and not problems:
        problems.append(f"{', '.join(targets)}: no handler class found")
    specs = tuple(handler.spec for handler in classes)
    problems += check(specs, resources, settings)
    if problems:
        raise LoadError(tuple(dict.fromkeys(problems)))
    return LoadedModules(specs, resources, tuple(found for found in middleware if found))


def _collect(
    targets: Sequence[str],
    problems: list[str],
    exclude: Sequence[str],
) -> tuple[list[ModuleType], list[type[AnyHandler[Any]]]]:
    modules: list[ModuleType] = []
    classes: dict[type[AnyHandler[Any]], None] = {}
    for target in targets:
        name, _, wanted = target.partition(":")
        if wanted and (module := imported(name, problems)) and (chosen := _held(module, wanted)):
            modules += [each for each in (module, sys.modules[chosen.__module__]) if each not in modules]
            problems += chosen.problems
            classes[chosen] = None
            continue
        found = modules_of(name, problems, exclude)
        modules += [module for module in found if module not in modules]
        here = [handler for module in found for handler in defined(module)]
        if wanted:
            here = _only(target, wanted, here, problems) if found else []
        problems += [problem for handler in here for problem in handler.problems]
        problems += [problem for module in found for group in groups_in(module) for problem in group.problems]
        classes.update(dict.fromkeys(here))
    return modules, [handler for handler in classes if "spec" in handler.__dict__]


def _held(module: ModuleType, name: str) -> type[AnyHandler[Any]] | None:
    """Return the handler class that a name of a module holds: defined, imported, or made by a function."""
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, AnyHandler)):
        return None
    return found if found.problems or "spec" in found.__dict__ else None


def _only(
    target: str,
    wanted: str,
    here: list[type[AnyHandler[Any]]],
    problems: list[str],
) -> list[type[AnyHandler[Any]]]:
    found = [handler for handler in here if handler.__name__ == wanted]  # those of a group have its name
    if not found:
        names = [handler.__name__ for handler in here]
        hint = suggestion(wanted, names)
        problems.append(f"{target}: no handler class {wanted!r} found{hint}")
    return found


def _middleware(target: str, problems: list[str]) -> Layer | None:
    name, _, attribute = target.partition(":")
    module = imported(name, problems)
    if module is None:
        return None
    found = getattr(module, attribute, None)
    if isinstance(found, type) and issubclass(found, Extension):
        return found  # the worker creates it, with its resources
    try:
        made = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - a team's class may raise anything
        problems.append(f"middleware {target!r}: {type(error).__name__}: {error}")
        return None
    if not (callable(made) or isinstance(made, Extension)):
        problems.append(f"middleware {target!r}: give module:name of a middleware class or function")
        return None
    return typing.cast("Layer", made)

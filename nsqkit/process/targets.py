"""Targets: loads the handlers in modules, or the routes of a bridge's file. It runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsqkit.errors import SettingsError
from nsqkit.loading.loader import LoadedModules, load
from nsqkit.ops.channels import subscriptions
from nsqkit.settings.settings import Settings
from nsqkit.worker.parts import MakeCompanion

_SUFFIX: Final = ".toml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker runs.

    Args:
        modules: Handlers, resources and middleware.
        companions: Make the routes to NSQ; none for modules.
    """

    modules: LoadedModules
    companions: tuple[MakeCompanion, ...] = ()


def is_bridge(targets: Sequence[str]) -> bool:
    """Return whether targets name the file of a bridge.

    Raises:
        SettingsError: If they name something beside it.
    """
    files = [each for each in targets if each.endswith(_SUFFIX)]
    if files and len(targets) > 1:
        raise SettingsError(
            f"{files[0]} is the file of a bridge: give it alone, without modules or other files"
        )
    return bool(files)


def checked_bridge(file: Path) -> str:
    """Return the file of a bridge as a target.

    Raises:
        SettingsError: If its name is not that of such a file.
    """
    if file.suffix != _SUFFIX:
        raise SettingsError(f"{file} is not the file of a bridge, whose name ends with {_SUFFIX}")
    return str(file)


def load_targets(targets: Sequence[str], settings: Settings) -> Loaded:
    """Return what to run, checked.

    Args:
        targets: Modules, packages or ``module:Class``; or the file of a bridge.
        settings: Settings of the worker.

    Raises:
        LoadError: If anything is wrong; one line for each problem.
        SettingsError: If the file of a bridge is not the only target.
    """
    if not is_bridge(targets):
        return Loaded(load(targets, settings))
    from nsqkit.bridge.loader import load_bridge  # noqa: PLC0415 - nothing of it is loaded without a bridge

    return Loaded(*load_bridge(Path(targets[0]), settings))


def subscriptions_of(targets: Sequence[str], settings: Settings) -> list[tuple[str, str]]:
    """Return every (topic, channel) that targets consume.

    Raises:
        LoadError: If they cannot be loaded.
        SettingsError: If the file of a bridge is not the only target.
    """
    return subscriptions(load_targets(targets, settings).modules.handlers)


def bridge_problems(file: Path, settings: Settings, *, connect: bool) -> tuple[int, list[str]]:
    """Return the number of a bridge's routes, and what is wrong with the brokers that they name.

    Args:
        file: The file of the bridge.
        settings: How to log in.
        connect: Whether to connect to both ends of each route; otherwise only the file is checked.

    Raises:
        LoadError: If the file or a route in it is wrong.
    """
    from nsqkit.bridge.connect import unreachable  # noqa: PLC0415 - as in load_targets
    from nsqkit.bridge.file import read_bridge  # noqa: PLC0415
    from nsqkit.bridge.loader import load_bridge  # noqa: PLC0415

    load_bridge(file, settings)
    routes = read_bridge(file).routes
    return len(routes), unreachable(routes, settings) if connect else []

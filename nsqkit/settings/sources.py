"""Where settings come from: flags, environment and file, read in order; values are checked elsewhere."""

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from nsqkit.errors import SettingsError
from nsqkit.policy.suggestion import suggestion
from nsqkit.settings.setting import ENV_PREFIX, Setting, is_secret, wrong_value

FILE_NAME: Final = "nsqkit.toml"

_APP_ENV_PREFIX = "NSQKIT_APP_"
_APP_NAME = re.compile(r"[a-z][a-z0-9_]*")
# This project's scripts and tests read these; a shell may have exported them.
_OF_THE_SCRIPTS = frozenset({"NSQKIT_PYTHON", "NSQKIT_NSQD_BIN"})
# Kubernetes sets these in every pod when a Service has a name that begins with "nsqkit".
_SERVICE_LINK = re.compile(r"(?:^|_)(?:SERVICE_(?:HOST|PORT)|PORT)(?:_.+)?$")


class Given(NamedTuple):
    """One value from a source.

    Args:
        name: The setting, or ``app.<name>`` for one of the team's own.
        value: The value, text or already of the right type; not checked.
        origin: Where it comes from, such as ``flag`` or ``env NSQKIT_THREADS``.
    """

    name: str
    value: object
    origin: str


def from_flags(flags: Mapping[str, object], known: Mapping[str, Setting]) -> Iterator[Given]:
    """Yield the values of flags; None means that a flag was not given.

    Raises:
        SettingsError: If a name is unknown, or a flag would show a secret.
    """
    for name, value in flags.items():
        if value is None:
            continue
        if name == "app" and isinstance(value, Mapping):
            for own, own_value in value.items():
                yield _own(own, own_value, "flag")
        elif name not in known:
            raise unknown(name, "there is no setting", known)
        elif known[name].secret:
            raise SettingsError(
                f"{name} is a secret, and others can read a command line;"
                f" set it in {known[name].env} or {FILE_NAME}"
            )
        else:
            yield Given(name, value, "flag")


def from_env(env: Mapping[str, str], known: Mapping[str, Setting]) -> Iterator[Given]:
    """Yield the values of ``NSQKIT_*`` variables.

    Raises:
        SettingsError: If such a variable is not a setting.
    """
    names = {setting.env: setting.name for setting in known.values()}
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX) or variable in _OF_THE_SCRIPTS:
            continue
        if variable in names:
            yield Given(names[variable], env[variable], f"env {variable}")
        elif variable.startswith(_APP_ENV_PREFIX):
            own = variable.removeprefix(_APP_ENV_PREFIX).lower()
            yield _own(own, env[variable], f"env {variable}")
        elif not _SERVICE_LINK.search(variable.removeprefix(ENV_PREFIX)):
            raise unknown(variable, "environment: there is no setting", names)


def from_file(file: Path | None, known: Mapping[str, Setting]) -> Iterator[Given]:
    """Yield the values of a TOML file.

    Args:
        file: The file, which must exist; None for ``nsqkit.toml``, which need not.
        known: The settings by name.

    Raises:
        SettingsError: If the file cannot be read, has an unknown name, or names a secret although users other
            than its owner and root can change it.
    """
    path = Path(FILE_NAME) if file is None else file
    try:
        with path.open("rb") as stream:
            content = tomllib.load(stream)
            status = os.fstat(stream.fileno())
    except FileNotFoundError as error:
        if file is None:
            return
        raise SettingsError(f"settings file {path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from error
    for table, values in content.items():
        if table not in {"nsqkit", "app"} or not isinstance(values, dict):
            raise unknown(table, f"{path}: [nsqkit] and [app] are the tables, not", ("nsqkit", "app"))
        for name, value in values.items():
            if is_secret(name):
                _check_private(path, name, status)
            if table == "app":
                yield _own(name, value, path.name)
            elif name in known:
                yield Given(name, value, path.name)
            else:
                raise unknown(name, f"{path}: there is no setting", known)


def _check_private(path: Path, name: str, status: os.stat_result) -> None:
    """Refuse a file with a secret that another user can change; of a symbolic link, check both ends."""
    for each in (status, path.lstat()):
        if each.st_uid not in {0, os.geteuid()}:
            raise SettingsError(
                f"settings file {path} names a secret ({name}) and is owned by user {each.st_uid}:"
                f" chown it to the user of this process, then chmod 600 {path}"
            )
    if status.st_mode & stat.S_IWOTH:
        raise SettingsError(
            f"settings file {path} names a secret ({name}) and every user can write to it: chmod 600 {path}"
        )


def check_app_name(name: object, origin: str) -> None:
    """Refuse a name that one of the team's own settings cannot have.

    Raises:
        SettingsError: If it is not made of lower-case letters, digits and _.
    """
    if not isinstance(name, str) or not _APP_NAME.fullmatch(name):
        raise wrong_value("app", repr(name), "is not a name of lower-case letters, digits and _", origin)


def unknown(name: str, what: str, known: Iterable[str]) -> SettingsError:
    """Return the error on an unknown name, with the closest known one."""
    return SettingsError(f"{what} {name!r}{suggestion(name, known)}")


def _own(name: str, value: object, origin: str) -> Given:
    check_app_name(name, origin)
    return Given(f"app.{name}", value, origin)

"""The settings: one frozen table of name, default, range and unit; it opens no connection.

A value comes from a flag, else from ``NSQKIT_*`` in the environment, else from ``nsqkit.toml``, else it is
the default; where it came from is kept beside it. ``docs/settings.md`` is printed from this table.
"""

import dataclasses
import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from nsqkit.errors import SettingsError
from nsqkit.settings.setting import ENV_PREFIX, Kind, Setting, is_secret, shown, wrong_value

__all__ = ["FILE_NAME", "TABLE", "Setting", "SettingRow", "Settings"]

FILE_NAME: Final = "nsqkit.toml"

_APP_ENV_PREFIX = "NSQKIT_APP_"
_APP_NAME = re.compile(r"[a-z][a-z0-9_]*")
# This project's scripts and tests read these; a shell may have them exported.
_OF_THE_SCRIPTS = frozenset({"NSQKIT_PYTHON", "NSQKIT_NSQD_BIN"})
# Kubernetes puts these into every pod beside a Service whose name begins with "nsqkit".
_SERVICE_LINK = re.compile(r"(?:^|_)(?:SERVICE_(?:HOST|PORT)|PORT)(?:_.+)?$")
_MAX_PORT = 65535


class SettingRow(NamedTuple):
    """One line of ``nsqkit config``: a setting's value as it may be shown, and its origin."""

    name: str
    value: str
    source: str
    unit: str
    help: str


def _number(default: Any, lowest: float, highest: float, unit: str, text: str) -> Any:
    kind: Kind = "whole number" if isinstance(default, int) else "number"
    return field(
        default=default, metadata={"kind": kind, "range": (lowest, highest), "unit": unit, "help": text}
    )


def _text(default: str | None, text: str, *, choices: tuple[str, ...] = (), secret: bool = False) -> Any:
    metadata = {"kind": "text", "choices": choices, "secret": secret, "help": text}
    return field(default=default, repr=not secret, metadata=metadata)


def _list(kind: Kind, text: str) -> Any:
    return field(default=(), metadata={"kind": kind, "help": text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one process runs with; every value is checked, however it was given.

    ``Settings()`` has the defaults, ``Settings(threads=4)`` sets values in a program or a test, and
    ``Settings.load()`` reads flags, environment and file.

    Raises:
        SettingsError: If a value is of the wrong kind or outside its range.
    """

    nsqd: tuple[str, ...] = _list("addresses", "nsqd to consume from and to publish to, host:port of TCP")
    lookupd: tuple[str, ...] = _list("addresses", "nsqlookupd to ask for nsqd, host:port of HTTP")
    nsqd_http: tuple[str, ...] = _list(
        "addresses", "HTTP addresses of the nsqd, to read their limits and counts"
    )
    service: str = _text("nsqkit", "name of this service: the `source` of events that it publishes")
    admin_host: str = _text("127.0.0.1", "address on which metrics and health are served")
    admin_port: int = _number(9464, 0, _MAX_PORT, "", "port of metrics and health; 0 serves none")
    dev_tcp_port: int = _number(4150, 0, _MAX_PORT, "", "TCP port of the broker of --dev; 0 for a free one")
    dev_http_port: int = _number(4151, 0, _MAX_PORT, "", "HTTP port of the broker of --dev; 0 for a free one")
    threads: int = _number(8, 1, 256, "", "threads for plain `def handle` handlers")
    max_requeue_delay_s: float = _number(
        900.0, 0, 3600, "s", "longest delay of a requeue; longer ones are clamped"
    )
    grace_s: float = _number(20.0, 0, 3600, "s", "time that running handlers get when the worker stops")
    connect_timeout_s: float = _number(2.0, 0.05, 60, "s", "time to reach an nsqd or nsqlookupd")
    publish_timeout_s: float = _number(10.0, 0.05, 300, "s", "time to wait for nsqd's OK to a publish")
    heartbeat_s: int = _number(30, 1, 60, "s", "interval of nsqd's heartbeats")
    msg_timeout_s: float = _number(
        60.0, 1, 900, "s", "time that nsqd waits for a message before it delivers it again"
    )
    lookupd_poll_s: float = _number(60.0, 0.1, 3600, "s", "interval between two questions to nsqlookupd")
    output_buffer_bytes: int = _number(65536, 64, 65536, "bytes", "nsqd's buffer for this client")
    output_buffer_ms: int = _number(
        25, 25, 30000, "ms", "longest time that nsqd keeps messages in that buffer"
    )
    rdy: str = _text(
        "auto", "auto lets RDY follow the load, fixed is all of max_in_flight", choices=("auto", "fixed")
    )
    event_loop: str = _text(
        "auto",
        "loop that a worker runs on; auto is uvloop where it is installed",
        choices=("auto", "asyncio", "uvloop"),
    )
    max_msg_bytes: int = _number(
        1048576, 1, 104857600, "bytes", "longest message body, where nsqd does not tell its own"
    )
    dead_store: str = _text(
        ".nsqkit/dead-letters.sqlite", "file in which dead letters are collected, by --dev too"
    )
    log_format: str = _text(
        "auto", "auto is console on a terminal, else json", choices=("auto", "console", "json")
    )
    log_level: str = _text(
        "info", "lowest level that is logged", choices=("debug", "info", "warning", "error", "critical")
    )
    log_success: bool = field(
        default=False, metadata={"kind": "true or false", "help": "log a line for each success too"}
    )
    middleware: tuple[str, ...] = _list(
        "names", "middleware to run around every handler, module:Class, outermost first"
    )
    auth_secret: str | None = _text(None, "secret for nsqd's AUTH; never a flag", secret=True)
    auth_secret_file: str | None = _text(None, "file that holds that secret, instead of it")
    tls: bool = field(
        default=False,
        metadata={"kind": "true or false", "help": "speak TLS with nsqd, and with none without"},
    )
    tls_ca_file: str | None = _text(None, "CA certificates (PEM) to trust; by default the system's")
    tls_cert_file: str | None = _text(None, "this client's certificate (PEM), where nsqd demands one")
    tls_key_file: str | None = _text(None, "its key (PEM, no passphrase), if not in the same file")
    tls_server_name: str | None = _text(
        None, "name that nsqd's certificates must have, if not the host's in their addresses"
    )
    compression: str = _text(
        "none",
        "of what goes to and from nsqd; snappy needs nsqkit[snappy]",
        choices=("none", "deflate", "snappy"),
    )
    deflate_level: int = _number(6, 1, 9, "", "1 is fast, 9 small; nsqd's own side has its maximum")
    app: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False, metadata={"kind": "app"})
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for setting in TABLE:
            origin = self.sources.get(setting.name, "")
            object.__setattr__(self, setting.name, setting.checked(getattr(self, setting.name), origin))
        for name in self.app:
            _check_app_name(name, self.sources.get(f"app.{name}", ""))
        object.__setattr__(self, "app", MappingProxyType(dict(self.app)))
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def __reduce__(self) -> tuple[partial[Self], tuple[()]]:
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values |= {"app": dict(self.app), "sources": dict(self.sources)}  # a mapping proxy cannot be pickled
        return partial(type(self), **values), ()

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> Self:
        """Read the settings: flags before environment before file before default.

        Args:
            flags: Values by name, text or already of the right type; None counts as not given. ``app`` is a
                mapping of the team's own names.
            env: The environment; that of the process by default.
            file: The file to read, which must exist; by default ``nsqkit.toml`` of the working directory, if
                there is one.

        Raises:
            SettingsError: If a name is unknown, a value cannot be had, or the file cannot be read.
        """
        values: dict[str, object] = {}
        app: dict[str, object] = {}
        sources: dict[str, str] = {}
        given = (*_from_file(file), *_from_env(os.environ if env is None else env), *_from_flags(flags or {}))
        for name, value, origin in given:  # a later one replaces an earlier one
            sources[name] = origin
            if name.startswith("app."):
                app[name.removeprefix("app.")] = value
            else:
                values[name] = value
        return cls(**values, app=app, sources=sources)  # type: ignore[arg-type]  # __post_init__ converts and checks

    def source_of(self, name: str) -> str:
        """Tell where a value came from: a flag, ``env NSQKIT_…``, a file's name, an argument, or the default.

        Args:
            name: A setting, or ``app.<name>``.

        Raises:
            SettingsError: If there is no such setting.
        """
        if name in self.sources:
            return self.sources[name]
        if name.startswith("app.") and name.removeprefix("app.") in self.app:
            return "argument"
        if name not in _BY_NAME:
            raise SettingsError(_unknown(name, "there is no setting", _BY_NAME))
        return "default" if getattr(self, name) == _BY_NAME[name].default else "argument"

    def app_number(
        self, name: str, default: float, *, minimum: float = -math.inf, maximum: float = math.inf
    ) -> float:
        """Return one of the team's own settings as a number.

        Args:
            name: Its name, without ``app.``.
            default: The value where it is not set.
            minimum: Lowest allowed value, itself included.
            maximum: Highest allowed value, itself included.

        Raises:
            SettingsError: If it is not a number in this range.
        """
        setting = Setting(f"app.{name}", "number", default, minimum, maximum, "", (), secret=False, help="")
        value = setting.checked(self.app.get(name, default), self.sources.get(setting.name, ""))
        if not isinstance(value, float):
            raise TypeError(value)
        return value

    def app_text(self, name: str, default: str) -> str:
        """Return one of the team's own settings as text.

        Args:
            name: Its name, without ``app.``.
            default: The value where it is not set.

        Raises:
            SettingsError: If it is neither text nor a number.
        """
        value = self.app.get(name, default)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise wrong_value(f"app.{name}", repr(value), "is not text", self.sources.get(f"app.{name}", ""))
        return str(value)

    def rows(self) -> tuple[SettingRow, ...]:
        """Return every setting, then the team's own ones, with secrets masked."""
        own = (
            SettingRow(
                f"app.{name}", shown(value, secret=is_secret(name)), self.source_of(f"app.{name}"), "", ""
            )
            for name, value in sorted(self.app.items())
        )
        return (
            *(
                SettingRow(
                    setting.name,
                    shown(getattr(self, setting.name), secret=setting.secret),
                    self.source_of(setting.name),
                    setting.unit,
                    setting.help,
                )
                for setting in TABLE
            ),
            *own,
        )


def _table() -> Iterator[Setting]:
    for each in dataclasses.fields(Settings):
        about = each.metadata
        if about.get("kind", "app") == "app":
            continue
        lowest, highest = about.get("range", (None, None))
        yield Setting(
            each.name,
            about["kind"],
            each.default,
            lowest,
            highest,
            about.get("unit", ""),
            about.get("choices", ()),
            about.get("secret", False),
            about["help"],
        )


TABLE: Final = tuple(_table())
_BY_NAME: Final = MappingProxyType({setting.name: setting for setting in TABLE})

_Given = Iterator[tuple[str, object, str]]


def _from_flags(flags: Mapping[str, object]) -> _Given:
    for name, value in flags.items():
        if value is None:
            continue
        if name == "app" and isinstance(value, Mapping):
            for own, own_value in value.items():
                _check_app_name(own, "flag")
                yield f"app.{own}", own_value, "flag"
        elif name not in _BY_NAME:
            raise SettingsError(_unknown(name, "there is no setting", _BY_NAME))
        elif _BY_NAME[name].secret:
            where = f"{_BY_NAME[name].env} or {FILE_NAME}"
            raise SettingsError(
                f"{name} is a secret: a command line can be read by others; set it in {where}"
            )
        else:
            yield name, value, "flag"


def _from_env(env: Mapping[str, str]) -> _Given:
    names = {setting.env: setting.name for setting in TABLE}
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX) or variable in _OF_THE_SCRIPTS:
            continue
        if variable in names:
            yield names[variable], env[variable], f"env {variable}"
        elif variable.startswith(_APP_ENV_PREFIX):
            own = variable.removeprefix(_APP_ENV_PREFIX).lower()
            _check_app_name(own, f"env {variable}")
            yield f"app.{own}", env[variable], f"env {variable}"
        elif not _SERVICE_LINK.search(variable.removeprefix(ENV_PREFIX)):
            raise SettingsError(_unknown(variable, "environment: there is no setting", names))


def _from_file(file: Path | None) -> _Given:
    path = Path(FILE_NAME) if file is None else file
    try:
        with path.open("rb") as stream:
            content = tomllib.load(stream)
    except FileNotFoundError as error:
        if file is None:
            return
        raise SettingsError(f"settings file {path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from error
    for table, values in content.items():
        if table not in {"nsqkit", "app"} or not isinstance(values, dict):
            raise SettingsError(
                _unknown(table, f"{path}: [nsqkit] and [app] are the tables, not", ("nsqkit", "app"))
            )
        for name, value in values.items():
            if table == "app":
                _check_app_name(name, path.name)
                yield f"app.{name}", value, path.name
            elif name in _BY_NAME:
                yield name, value, path.name
            else:
                raise SettingsError(_unknown(name, f"{path}: there is no setting", _BY_NAME))


def _check_app_name(name: object, origin: str) -> None:
    if not isinstance(name, str) or not _APP_NAME.fullmatch(name):
        raise wrong_value("app", repr(name), "is not a name of lower-case letters, digits and _", origin)


def _unknown(name: str, what: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"{what} {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")

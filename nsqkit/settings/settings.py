"""The settings: one frozen table of name, default, range and unit; it opens no connection.

A value comes from a flag, else from ``NSQKIT_*`` in the environment, else from ``nsqkit.toml``, else it is
the default; its source is recorded. ``docs/settings.md`` is generated from this table.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from nsqkit.policy.address import MAX_PORT
from nsqkit.settings import rows
from nsqkit.settings.setting import Setting, is_secret, shown, wrong_value
from nsqkit.settings.sources import check_app_name, from_env, from_file, from_flags, unknown

__all__ = ["TABLE", "SettingRow", "Settings"]


class SettingRow(NamedTuple):
    """One line of ``nsqkit config``: a setting's value with secrets masked, and its source."""

    name: str
    value: str
    source: str
    unit: str
    help: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process; every value is checked, whatever its source.

    ``Settings()`` has the defaults, ``Settings(threads=4)`` sets values in a program or a test, and
    ``Settings.load()`` reads flags, environment and file.

    Raises:
        SettingsError: If a value is of the wrong kind or outside its range.
    """

    nsqd: tuple[str, ...] = rows.listing(
        "addresses", "nsqd to consume from and publish to: host:port of their TCP ports"
    )
    lookupd: tuple[str, ...] = rows.listing(
        "addresses", "nsqlookupd that know the nsqd: host:port of their HTTP ports"
    )
    nsqd_http: tuple[str, ...] = rows.listing(
        "addresses", "HTTP addresses of the nsqd, for their limits and statistics"
    )
    modules: tuple[str, ...] = rows.listing(
        "names", "modules, packages or module:Class of the handlers, for commands that name none"
    )
    service: str = rows.text("nsqkit", "name of this service: the `source` of the events that it publishes")
    admin_host: str = rows.text("127.0.0.1", "address that serves metrics and health")
    admin_port: int = rows.number(9464, 0, MAX_PORT, "", "port for metrics and health; 0 turns them off")
    admin_hosts: tuple[str, ...] = rows.listing(
        "names",
        "host names by which clients may call the admin port, in addition to IP addresses and localhost",
    )
    admin_token: str | None = rows.text(
        None, "token for the admin port, required beyond loopback; not allowed as a flag", secret=True
    )
    admin_token_file: str | None = rows.text(None, "file that contains the token, instead of admin_token")
    dev_tcp_port: int = rows.number(4150, 0, MAX_PORT, "", "TCP port of the --dev broker; 0 for a free one")
    dev_http_port: int = rows.number(4151, 0, MAX_PORT, "", "HTTP port of the --dev broker; 0 for a free one")
    feed_rate: float = rows.number(
        0.0,
        0,
        100000,
        "messages/s",
        "rate at which `run` publishes its feeds again and again, once they are published; 0: not again",
    )
    threads: int = rows.number(8, 1, 256, "", "threads for plain `def handle` handlers")
    max_worker_memory_mb: int = rows.number(
        0, 0, 1048576, "MB", "with --workers: resident memory above which a worker is replaced; 0: none"
    )
    max_requeue_delay_s: float = rows.number(
        900.0,
        0,
        3600,
        "s",
        "longest delay of a requeue in nsqd; longer ones are clamped, or rows with `once=`",
    )
    grace_s: float = rows.number(
        20.0, 0, 3600, "s", "time for running handlers to finish when the worker stops"
    )
    connect_timeout_s: float = rows.number(
        2.0, 0.05, 60, "s", "timeout for connecting to an nsqd or nsqlookupd"
    )
    publish_timeout_s: float = rows.number(10.0, 0.05, 300, "s", "timeout for nsqd's OK to a publish")
    heartbeat_s: int = rows.number(30, 1, 60, "s", "interval of nsqd's heartbeats")
    msg_timeout_s: float = rows.number(
        60.0, 1, 900, "s", "time after which nsqd redelivers a message without an answer"
    )
    lookupd_poll_s: float = rows.number(60.0, 0.1, 3600, "s", "interval between queries to nsqlookupd")
    output_buffer_bytes: int = rows.number(
        65536, 64, 65536, "bytes", "size of nsqd's output buffer for this client"
    )
    output_buffer_ms: int = rows.number(25, 25, 30000, "ms", "longest time that nsqd buffers messages")
    rdy: str = rows.text(
        "auto", "auto: RDY follows the load; fixed: RDY is max_in_flight", choices=("auto", "fixed")
    )
    event_loop: str = rows.text(
        "auto",
        "event loop of a worker; auto: uvloop if it is installed",
        choices=("auto", "asyncio", "uvloop"),
    )
    max_msg_bytes: int = rows.number(
        1048576, 1, 104857600, "bytes", "longest message body, if nsqd does not report its limit"
    )
    dead_store: str = rows.text(
        ".nsqkit/dead-letters.sqlite", "file for collected dead letters; --dev uses it too"
    )
    log_format: str = rows.text(
        "auto", "auto: console on a terminal, else json", choices=("auto", "console", "json")
    )
    log_level: str = rows.text(
        "info", "lowest level that is logged", choices=("debug", "info", "warning", "error", "critical")
    )
    log_success: bool = rows.switch("log a line for every success too")
    log_success_ratio: float = rows.number(1.0, 0, 1, "", "share of the successes that log_success logs")
    middleware: tuple[str, ...] = rows.listing(
        "names", "middleware around every handler, as module:Class, outermost first"
    )
    traces_creator: str = rows.text(
        "link",
        "how a message's span refers to its publisher's: link begins a new trace, parent stays in that one",
        choices=("link", "parent"),
    )
    exclude: tuple[str, ...] = rows.listing(
        "names", "modules and packages to skip in a package, as __main__, tests and migrations are"
    )
    auth_secret: str | None = rows.text(None, "secret for nsqd's AUTH; not allowed as a flag", secret=True)
    auth_secret_file: str | None = rows.text(
        None, "file that contains the secret for AUTH, instead of auth_secret"
    )
    tls: bool = rows.switch("require TLS on every connection to nsqd")
    tls_ca_file: str | None = rows.text(None, "CA certificates to trust (PEM); by default the system's")
    tls_cert_file: str | None = rows.text(None, "client certificate (PEM), if nsqd requires one")
    tls_key_file: str | None = rows.text(
        None, "private key (PEM, no passphrase), if it is not in the certificate's file"
    )
    tls_server_name: str | None = rows.text(
        None, "name that nsqd's certificate must have, if it is not the address's host"
    )
    compression: str = rows.text(
        "none",
        "compression of connections to nsqd; snappy needs nsqkit[snappy]",
        choices=("none", "deflate", "snappy"),
    )
    deflate_level: int = rows.number(6, 1, 9, "", "1 is fast, 9 is small; nsqd has a separate maximum")
    sql_pool_size: int = rows.number(10, 1, 200, "", "connections to PostgreSQL for each kind of handler")
    lock_timeout_s: float = rows.number(
        5.0, 0.05, 300, "s", "longest wait of a database transaction for a lock of another one"
    )
    inbox_retention_s: float = rows.number(
        604800.0, 60, 31536000, "s", "time for which `once=` remembers a handled event"
    )
    outbox_lease_s: float = rows.number(
        30.0, 1, 3600, "s", "time for which one process alone publishes an event of the outbox"
    )
    outbox_retention_s: float = rows.number(
        86400.0, 0, 31536000, "s", "time for which the outbox keeps an event that was published"
    )
    saga_retention_s: float = rows.number(
        2592000.0, 60, 315360000, "s", "time for which an ended saga is kept, so that its key starts no other"
    )
    outbox_notify: bool = rows.switch(
        "whether `outbox.add` wakes relays of a PostgreSQL at each commit, which makes commits slower"
    )
    kafka_username: str | None = rows.text(None, "user of a bridge at Kafka (SASL); none by default")
    kafka_password: str | None = rows.text(
        None, "password of that user; not allowed as a flag, nor in a bridge's file", secret=True
    )
    kafka_mechanism: str = rows.text(
        "PLAIN",
        "SASL mechanism for kafka_username",
        choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
    )
    kafka_tls: bool = rows.switch("speak TLS with Kafka")
    kafka_tls_ca: str | None = rows.text(
        None, "CA certificates to trust at Kafka (PEM); by default the system's"
    )
    kafka_tls_cert: str | None = rows.text(None, "client certificate for Kafka (PEM), if it requires one")
    kafka_tls_key: str | None = rows.text(
        None, "private key for Kafka (PEM, no passphrase), if it is not in the certificate's file"
    )
    rabbitmq_username: str | None = rows.text(None, "user of a bridge at RabbitMQ; by default guest")
    rabbitmq_password: str | None = rows.text(
        None, "password of that user; not allowed as a flag, nor in a bridge's file", secret=True
    )
    rabbitmq_tls_ca: str | None = rows.text(
        None, "CA certificates to trust at RabbitMQ with amqps (PEM); by default the system's"
    )
    rabbitmq_tls_cert: str | None = rows.text(
        None, "client certificate for RabbitMQ (PEM), if it requires one"
    )
    rabbitmq_tls_key: str | None = rows.text(
        None, "private key for RabbitMQ (PEM, no passphrase), if it is not in the certificate's file"
    )
    app: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for setting in TABLE:
            origin = self.sources.get(setting.name, "")
            object.__setattr__(self, setting.name, setting.checked(getattr(self, setting.name), origin))
        for name in self.app:
            check_app_name(name, self.sources.get(f"app.{name}", ""))
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
            flags: Values by name, as text or of the right type; None means not given. ``app`` is a mapping
                of the team's own names.
            env: The environment; by default the process's.
            file: The file to read, which must exist; by default ``nsqkit.toml`` in the working directory, if
                it exists.

        Raises:
            SettingsError: If a name is unknown, a value is invalid, or the file cannot be read.
        """
        values: dict[str, object] = {}
        app: dict[str, object] = {}
        sources: dict[str, str] = {}
        given = (
            *from_file(file, _BY_NAME),
            *from_env(os.environ if env is None else env, _BY_NAME),
            *from_flags(flags or {}, _BY_NAME),
        )
        for name, value, origin in given:  # a later one replaces an earlier one
            sources[name] = origin
            if name.startswith("app."):
                app[name.removeprefix("app.")] = value
            else:
                values[name] = value
        return cls(**values, app=app, sources=sources)  # type: ignore[arg-type]  # __post_init__ converts and checks

    def source_of(self, name: str) -> str:
        """Return where a value came from: a flag, ``env NSQKIT_…``, a file name, an argument, or the default.

        Args:
            name: The name of a setting, or ``app.<name>``.

        Raises:
            SettingsError: If there is no such setting.
        """
        if name in self.sources:
            return self.sources[name]
        if name.startswith("app.") and name.removeprefix("app.") in self.app:
            return "argument"
        if name not in _BY_NAME:
            raise unknown(name, "there is no setting", _BY_NAME)
        return "default" if getattr(self, name) == _BY_NAME[name].default else "argument"

    def app_number(
        self, name: str, default: float, *, minimum: float = -math.inf, maximum: float = math.inf
    ) -> float:
        """Return one of the team's own settings as a number.

        Args:
            name: The setting's name, without ``app.``.
            default: The value if it is not set.
            minimum: Lowest allowed value, inclusive.
            maximum: Highest allowed value, inclusive.

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
            name: The setting's name, without ``app.``.
            default: The value if it is not set.

        Raises:
            SettingsError: If it is neither text nor a number.
        """
        value = self.app.get(name, default)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise wrong_value(f"app.{name}", repr(value), "is not text", self.sources.get(f"app.{name}", ""))
        return str(value)

    def rows(self) -> tuple[SettingRow, ...]:
        """Return every setting, then the team's own, with secrets masked."""
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


TABLE: Final = tuple(rows.table(Settings))
_BY_NAME: Final = MappingProxyType({setting.name: setting for setting in TABLE})

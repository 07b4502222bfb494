"""RabbitMQ: one server of scripts/install-rabbitmq, without epmd and plugins; its data in one folder.

``python -m examples.orders.brokers.rabbitmq FOLDER PORT ERLANG_PORT`` becomes the server, on these ports of
127.0.0.1. It has an exchange, and a queue of a partner that is bound to it. SIGTERM ends it.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

EXCHANGE: Final = "shop"
QUEUE: Final = "partner"
"""The partner's queue, which gets all of the exchange."""
_UNPACKED: Final = Path(__file__).parents[3] / ".rabbitmq" / "root"
_GUEST: Final = "guest"  # RabbitMQ lets this user in from this machine only
_FRUGAL: Final = (
    *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),  # no busy waiting
    *("+S", "1:1", "+A", "1", "+SDcpu", "1:1", "+SDio", "1"),  # few threads
)
_ALONE: Final = ("-sname", "nsqkit@localhost", "-setcookie", "nsqkit", "-start_epmd", "false")
_SILENT: Final = ("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false")


@dataclass(frozen=True)
class Installed:
    """The programs of RabbitMQ.

    Args:
        erlang: The folder of Erlang.
        server: The folder of RabbitMQ.
    """

    erlang: Path
    server: Path

    @classmethod
    def find(cls) -> Self | None:
        """Return those of ``scripts/install-rabbitmq``, or those of this machine; None without any."""
        for root in (_UNPACKED, Path("/")):
            for server in root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"):
                if (server / "plugins").exists():
                    return cls(root / "usr/lib/erlang", server)
        return None

    @property
    def programs(self) -> Path:
        """The folder of Erlang's programs, such as ``erlexec``."""
        return next(self.erlang.glob("erts-*/bin"))

    def command(self, port: int) -> tuple[str, ...]:
        """Return the command that runs a server.

        Args:
            port: Free port of Erlang on 127.0.0.1, for ``erl_call``.
        """
        erl = (str(self.programs / "erlexec"), "-noinput", "-boot", "start_sasl", "+W", "w", *_FRUGAL)
        listen = ("-erl_epmd_port", str(port), "-kernel", "inet_dist_use_interface", "{127,0,0,1}")
        return (*erl, *_ALONE, *listen, *_SILENT, "-s", "rabbit", "boot")

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Return the environment of a server.

        Args:
            folder: For all that it writes, with the files that :func:`configure` makes.
            port: That of the command.
        """
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ROOTDIR": str(self.erlang),
            "BINDIR": str(self.programs),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": str(self.server / "plugins"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": "nsqkit@localhost",
            "RABBITMQ_DIST_PORT": str(port),
            "RABBITMQ_HOME": str(self.server),
            "RABBITMQ_PLUGINS_DIR": str(self.server / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
        }


def configure(folder: Path, settings: Mapping[str, object], definitions: Mapping[str, object]) -> None:
    """Write the files of a server.

    Args:
        folder: Where; it is there.
        settings: Lines of its configuration in addition to those that every server needs.
        definitions: Its users, queues and so on, as RabbitMQ's own export has them.
    """
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "definitions.json").write_text(json.dumps(definitions))
    every = {
        "num_acceptors.tcp": 1,
        "disk_free_limit.absolute": "1MB",
        "vm_memory_high_watermark.absolute": "1GB",
        "load_definitions": folder / "definitions.json",
        "log.console": "true",
        "log.console.level": "info",
    }
    lines = (f"{name} = {value}\n" for name, value in {**every, **settings}.items())
    (folder / "rabbitmq.conf").write_text("".join(lines))


def _definitions() -> Mapping[str, object]:
    here = {"vhost": "/", "arguments": {}}
    bound = {"source": EXCHANGE, "destination": QUEUE, "destination_type": "queue", "routing_key": "#"}
    lasting = {"durable": True, "auto_delete": False}
    return {
        "users": [{"name": _GUEST, "password": _GUEST, "tags": ""}],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": _GUEST, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        "exchanges": [{**here, **lasting, "name": EXCHANGE, "type": "topic", "internal": False}],
        "queues": [{**here, **lasting, "name": QUEUE, "arguments": {"x-queue-type": "quorum"}}],
        "bindings": [{**here, **bound}],
    }


def main(folder: Path, port: int, erlang_port: int) -> None:
    """Become a server with its data in a folder, which is made if it is missing.

    Raises:
        SystemExit: If RabbitMQ is not installed.
    """
    installed = Installed.find()
    if installed is None:
        sys.exit("RabbitMQ not found: run scripts/install-rabbitmq")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    configure(folder, {"listeners.tcp.1": f"127.0.0.1:{port}"}, _definitions())
    command = installed.command(erlang_port)
    os.chdir(folder)
    os.execve(command[0], command, installed.environment(folder, erlang_port))  # noqa: S606 - as for Kafka


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

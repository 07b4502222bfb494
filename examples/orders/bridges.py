"""Bridges: Kafka, RabbitMQ, and the bridge between them and NSQ, for ``order-system --bridges``."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from examples.orders.brokers import kafka, rabbitmq

PROCFILE: Final = Path(__file__).with_name("Procfile.bridges")
_ROUTES: Final = Path(__file__).with_name("bridge.toml")
_SCRIPTS: Final = Path(__file__).parents[2] / "scripts"


class BrokersMissingError(Exception):
    """Kafka or RabbitMQ cannot be installed; the text says what to do."""


def install() -> None:
    """Install Kafka and RabbitMQ into the clone, if they are missing.

    Raises:
        BrokersMissingError: If a program is missing, or one of them cannot be installed.
    """
    if missing := [f"{program} ({purpose})" for program, purpose in _needed() if not shutil.which(program)]:
        raise BrokersMissingError(f"--bridges needs {', '.join(missing)}; install it, or leave --bridges out")
    for name in ("install-kafka", "install-rabbitmq"):
        if subprocess.run([_SCRIPTS / name], check=False).returncode:  # noqa: S603 - of this clone
            raise BrokersMissingError(f"--bridges needs what scripts/{name} installs; see its output above")


def write_routes(variables: Mapping[str, str]) -> None:
    """Write the file of routes, with the addresses of this run.

    Args:
        variables: The environment of the processes.
    """
    folder = Path(variables["BRIDGES_FOLDER"])
    folder.mkdir(parents=True, exist_ok=True)
    text = _ROUTES.read_text()
    for given, name in (("127.0.0.1:9092", "KAFKA_PORT"), ("127.0.0.1:5672", "AMQP_PORT")):
        text = text.replace(given, f"127.0.0.1:{variables[name]}")
    (folder / "bridge.toml").write_text(text)


def _needed() -> Iterator[tuple[str, str]]:
    """Yield the programs that must be there, and for what."""
    yield "java", "for Kafka"
    if not (kafka.INSTALLED / "made-of").exists():
        yield "mvn", "to install Kafka"
    if rabbitmq.Installed.find() is None:
        yield "apt-get", "to unpack Debian's RabbitMQ"

"""Kafka: one broker of the jars of scripts/install-kafka, in KRaft mode; its data in one folder.

``python -m examples.orders.brokers.kafka FOLDER PORT CONTROLLER_PORT`` becomes the broker, on these ports of
127.0.0.1. SIGTERM ends it.
"""

import base64
import os
import sys
import uuid
from pathlib import Path
from typing import Final

INSTALLED: Final = Path(__file__).parents[3] / ".kafka"
"""The folder of ``scripts/install-kafka``."""
ONE_BROKER: Final = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
num.network.threads=2
num.io.threads=2
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""
"""Settings of a broker that is alone, and has little to do."""
_JAVA: Final = (
    "java",
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts faster
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)


def command(properties: Path) -> tuple[str, ...]:
    """Return the command that runs a broker.

    Args:
        properties: The file of its settings.
    """
    return (*_JAVA, "-cp", f"{INSTALLED / 'jars'}/*", "kafka.Kafka", str(properties))


def format_storage(folder: Path) -> None:
    """Make the folder of a broker's data; one that is there keeps its data.

    Args:
        folder: The setting ``log.dirs``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "meta.properties"
    if not file.exists():
        own_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        file.write_text(f"version=1\ncluster.id=nsqkit\nnode.id=1\ndirectory.id={own_id}\n")


def main(folder: Path, port: str, controller_port: str) -> None:
    """Become a broker with its data in a folder, which is made if it is missing."""
    broker, controller = f"127.0.0.1:{port}", f"127.0.0.1:{controller_port}"
    folder = folder.absolute()
    data = folder / "data"
    format_storage(data)
    properties = folder / "server.properties"
    properties.write_text(
        f"{ONE_BROKER}"
        f"controller.quorum.voters=1@{controller}\n"
        f"listeners=PLAINTEXT://{broker},CONTROLLER://{controller}\n"
        f"log.dirs={data}\n"
    )
    os.chdir(folder)
    os.execvp(_JAVA[0], command(properties))  # noqa: S606 - a program without a shell is what we want


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

"""Without its extra, the room of a broker says what to install."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from nsqkit.errors import BridgeError
try:
    import nsqkit.bridge.{room}
except BridgeError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("room", "missing", "error"),
    [
        ("kafka", "confluent_kafka", "routes of Kafka need confluent-kafka: pip install 'nsqkit[kafka]'"),
        ("rabbitmq", "aio_pika", "routes of RabbitMQ need aio-pika: pip install 'nsqkit[rabbitmq]'"),
        ("rabbitmq", "aiormq", "routes of RabbitMQ need aio-pika: pip install 'nsqkit[rabbitmq]'"),
    ],
)
def test_a_missing_extra_is_named(room: str, missing: str, error: str) -> None:
    code = WITHOUT.format(room=room, missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{error}\n"

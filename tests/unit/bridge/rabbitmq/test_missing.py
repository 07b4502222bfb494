"""Without the extra, the room says what to install, and nothing of nsqkit imports it."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[{module!r}] = None
from nsqkit.errors import BridgeError
try:
    import nsqkit.bridge.rabbitmq
except BridgeError as error:
    print(error)
"""


@pytest.mark.parametrize("module", ["aio_pika", "aiormq"])
def test_a_missing_extra_is_named(module: str) -> None:
    code = WITHOUT.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "routes of RabbitMQ need aio-pika: pip install 'nsqkit[rabbitmq]'\n"

"""A real Kafka for tests: one broker in KRaft mode, on free ports, with its data in a temporary folder."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from examples.orders.brokers import kafka as own
from tests.certificates import Authority, Files
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until_blocking

MISSING = "Kafka not found: run scripts/install-kafka (needs Java and mvn); skipping tests that need it"
USER, PASSWORD = "bridge", "made-up-secret"
_START_S = 3 * PATIENCE_S  # about 8 s of CPU, on a machine that may be busy
_READY = b"Kafka Server started"

_SETTINGS = """\
{one_broker}controller.quorum.voters=1@{controller}
listeners={listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=\\
    org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={key}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
log.dirs={data}
log.retention.ms=-1
log.cleaner.enable=false
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
"""


class Kafka:
    """One broker, which can be killed and started again on the same ports and data.

    It has a listener without credentials, one with SASL for :data:`USER`, and one with TLS for clients that
    have a certificate of :attr:`authority`. As by default, it creates topics that a client asks for.

    Args:
        folder: For its data, settings and log.

    Attributes:
        address: ``host:port`` without credentials.
        sasl_address: ``host:port`` with SASL: PLAIN, and SCRAM if a test has added the user.
        tls_address: ``host:port`` with TLS.
        authority: Signs the certificates that it trusts.
    """

    def __init__(self, folder: Path) -> None:
        self.address, self.sasl_address, self.tls_address, self._controller = (
            f"127.0.0.1:{free_port()}" for _ in range(4)
        )
        self.authority = Authority(folder)
        self._folder = folder
        self._log = folder / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        own.format_storage(data)
        (folder / "server.properties").write_text(self._settings(data))

    def start(self) -> None:
        """Return when it serves its clients; does nothing if it runs."""
        if self._process is not None:
            return
        begin = self._log.stat().st_size if self._log.exists() else 0
        command = own.command(self._folder / "server.properties")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        until_blocking(lambda: self._is_ready(begin), timeout_s=_START_S)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE_S)

    def _is_ready(self, begin: int) -> bool:
        with self._log.open("rb") as log:
            log.seek(begin)
            text = log.read()
        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"Kafka did not start:\n{text[-3000:].decode(errors='replace')}")
        return _READY in text

    def _settings(self, data: Path) -> str:
        listeners = {
            "PLAINTEXT": self.address,
            "SASL_PLAINTEXT": self.sasl_address,
            "SSL": self.tls_address,
            "CONTROLLER": self._controller,
        }
        return _SETTINGS.format(
            one_broker=own.ONE_BROKER,
            controller=self._controller,
            listeners=",".join(f"{name}://{address}" for name, address in listeners.items()),
            user=USER,
            password=PASSWORD,
            key=_key_store(self.authority.certificate("127.0.0.1")),
            authority=self.authority.file,
            data=data,
        )


def is_installed() -> bool:
    """Return whether there is a Kafka and a Java."""
    return (own.INSTALLED / "made-of").exists() and shutil.which("java") is not None


def require() -> None:
    """Skip the test without Kafka; with ``CI=true`` it fails."""
    if not is_installed():
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING.partition(";")[0])
        pytest.skip(MISSING)


@contextlib.contextmanager
def running() -> Iterator[Kafka]:
    """Run a broker, if Kafka is there."""
    require()
    folder = Path(tempfile.mkdtemp(prefix="nsqkit-kafka-"))
    server = Kafka(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()  # nobody needs the data
        shutil.rmtree(folder)


def _key_store(files: Files) -> Path:
    """Return a file with key and certificates as Kafka reads them: the key in PKCS #8."""
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store = files.key.with_suffix(".store.pem")
    store.write_bytes(pem + files.certificate.read_bytes())
    return store

"""A real RabbitMQ for tests: on free ports, its data in a temporary folder, without epmd and web plugins."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from examples.orders.brokers.rabbitmq import Installed, configure
from tests.certificates import Authority, Files
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until_blocking

MISSING = "RabbitMQ not found: run scripts/install-rabbitmq; skipping tests that need it"
USER, PASSWORD = "bridge", "p@ss/w:rd %2F?#"
VHOST = "shop/eu"
"""A second virtual host, which the user may use as well."""
READER = "reader"
"""A user who may read, but neither write nor create; with the same password."""

MAX_MESSAGE_BYTES = 4_000_000


class Rabbitmq:
    """One RabbitMQ, which can be killed and started again on the same ports and data.

    Args:
        installed: Its programs.
        folder: For all that it writes.

    Attributes:
        port: Of AMQP, on 127.0.0.1.
        tls_port: Of AMQP over TLS; it demands a certificate of the client.
        authority: Signed the server's certificate, which is for ``localhost``, and signs those of clients.
    """

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self.authority = Authority(folder)
        self._folder = folder
        self._installed = installed
        self._distribution_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(self.authority.certificate("localhost"))

    def start(self) -> None:
        """Return when it accepts connections; nothing happens if it runs."""
        if self._process is not None:
            return
        with (self._folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._installed.command(self._distribution_port),
                cwd=self._folder,
                env=self._installed.environment(self._folder, self._distribution_port),
                stdout=log,
                stderr=log,
            )
        try:
            until_blocking(self._answers)
        except AssertionError as error:
            self.end()
            log_end = (self._folder / "console.log").read_text(errors="replace")[-3000:]
            pytest.fail(f"RabbitMQ did not start: {error}\n{log_end}")

    def kill(self) -> None:
        """End it at once (SIGKILL), but not before it has written the names of its queues.

        RabbitMQ 3.10 writes the name of a new quorum queue up to half a second after its declaration. If it
        is killed before, it has lost the queue's messages, also confirmed ones.
        """
        if self._process is not None:
            self.evaluate("[dets:sync(Table) || Table <- dets:all()]")
            self.end()

    def end(self) -> None:
        """End it at once (SIGKILL); it may be ended already."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE_S)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it (SIGSTOP) for the block: its connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            until_blocking(self._is_stopped)  # its threads stop one after the other
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def evaluate(self, expression: str) -> str:
        """Return the value of an Erlang expression in the server, as ``erl_call`` writes it."""
        command = [
            str(self._installed.programs / "erl_call"),
            "-address",
            f"127.0.0.1:{self._distribution_port}",
        ]
        done = subprocess.run(
            [*command, "-c", "nsqkit", "-e"],
            input=f"{expression}.\n".encode(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return done.stdout.decode()

    def close_connections(self) -> None:
        """Close all connections of clients, as an operator can."""
        self.evaluate(
            '[rabbit_networking:close_connection(C, "by a test") || C <- rabbit_networking:connections()]'
        )

    def _is_stopped(self) -> bool:
        assert self._process is not None
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "it has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as asked:
            asked.settimeout(PATIENCE_S)
            asked.sendall(b"AMQP\x00\x00\x09\x01")
            return len(asked.recv(1)) == 1  # its greeting
        return False

    def _configure(self, tls: Files) -> None:
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": self.authority.file,
            "ssl_options.certfile": tls.certificate,
            "ssl_options.keyfile": tls.key,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
            "num_acceptors.ssl": 1,
            "max_message_size": MAX_MESSAGE_BYTES,
        }
        configure(self._folder, settings, _definitions())


def _definitions() -> Mapping[str, object]:
    vhosts = ("/", VHOST)
    return {
        "users": [{"name": name, "password": PASSWORD, "tags": ""} for name in (USER, READER)],
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": may, "write": may, "read": ".*"}
            for user, may in ((USER, ".*"), (READER, "^$"))
            for vhost in vhosts
        ],
    }


def is_installed() -> bool:
    """Return whether there is a RabbitMQ."""
    return Installed.find() is not None


def require() -> Installed:
    """Return the programs of RabbitMQ. Without them the test is skipped; with ``CI=true`` it fails."""
    found = Installed.find()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


@contextlib.contextmanager
def running() -> Iterator[Rabbitmq]:
    """Run a RabbitMQ, and end it with all of its data."""
    found = require()
    folder = Path(tempfile.mkdtemp(prefix="nsqkit-rabbitmq-"))
    server = Rabbitmq(found, folder)
    try:
        server.start()
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)  # its port programs may still write

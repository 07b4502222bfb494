"""A real RabbitMQ for tests: on free ports, its data in a temporary folder, without epmd and web plugins."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

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

_UNPACKED = Path(__file__).parents[1] / ".rabbitmq" / "root"
_FRUGAL: tuple[str, ...] = (
    *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),  # no busy waiting
    *("+S", "1:1", "+A", "1", "+SDcpu", "1:1", "+SDio", "1"),  # few threads
)


class Rabbitmq:
    """One RabbitMQ, which can be killed and started again on the same ports and data.

    Args:
        root: The folder below which ``usr/lib/erlang`` and ``usr/lib/rabbitmq`` are.
        folder: For all that it writes.

    Attributes:
        port: Of AMQP, on 127.0.0.1.
        tls_port: Of AMQP over TLS; it demands a certificate of the client.
        authority: Signed the server's certificate, which is for ``localhost``, and signs those of clients.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self.authority = Authority(folder)
        self._folder = folder
        self._erlang = root / "usr/lib/erlang"
        self._server = next(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
        self._distribution_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(self.authority.certificate("localhost"))

    def start(self) -> None:
        """Return when it accepts connections; nothing happens if it runs."""
        if self._process is not None:
            return
        with (self._folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self._folder, env=self._environment(), stdout=log, stderr=log
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
        command = [str(self._bin / "erl_call"), "-address", f"127.0.0.1:{self._distribution_port}"]
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

    @property
    def _bin(self) -> Path:
        return next(self._erlang.glob("erts-*/bin"))

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

    def _command(self) -> list[str]:
        erl = [str(self._bin / "erlexec"), "-noinput", "-boot", "start_sasl", "+W", "w", *_FRUGAL]
        port = str(self._distribution_port)
        alone = ["-sname", "nsqkit@localhost", "-setcookie", "nsqkit", "-start_epmd", "false"]
        listen = ["-erl_epmd_port", port, "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
        silent = ["-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"]
        return [*erl, *alone, *listen, *silent, "-s", "rabbit", "boot"]

    def _environment(self) -> Mapping[str, str]:
        written = str(self._folder)
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": written,
            "ROOTDIR": str(self._erlang),
            "BINDIR": str(self._bin),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": str(self._server / "plugins"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": "nsqkit@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_HOME": str(self._server),
            "RABBITMQ_PLUGINS_DIR": str(self._server / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": f"{written}/none",
            "RABBITMQ_CONFIG_FILE": f"{written}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{written}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{written}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{written}/generated",
            "RABBITMQ_MNESIA_BASE": f"{written}/data",
            "RABBITMQ_PID_FILE": f"{written}/pid",
            "RABBITMQ_LOG_BASE": f"{written}/log",
            "RABBITMQ_LOGS": "-",
        }

    def _configure(self, tls: Files) -> None:
        (self._folder / "enabled_plugins").write_text("[].\n")
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": self.authority.file,
            "ssl_options.certfile": tls.certificate,
            "ssl_options.keyfile": tls.key,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
            "num_acceptors.tcp": 1,
            "num_acceptors.ssl": 1,
            "disk_free_limit.absolute": "1MB",
            "vm_memory_high_watermark.absolute": "1GB",
            "load_definitions": self._folder / "definitions.json",
            "max_message_size": MAX_MESSAGE_BYTES,
            "log.console": "true",
            "log.console.level": "info",
        }
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        (self._folder / "rabbitmq.conf").write_text("".join(lines))
        (self._folder / "definitions.json").write_text(json.dumps(_definitions()))


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


def root() -> Path | None:
    """Return the folder below which RabbitMQ is: of scripts/install-rabbitmq, or ``/``; None without one."""
    for folder in (_UNPACKED, Path("/")):
        if any(folder.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins")):
            return folder
    return None


@contextlib.contextmanager
def running() -> Iterator[Rabbitmq]:
    """Run a RabbitMQ, and end it with all of its data.

    Without RabbitMQ the test is skipped; with ``CI=true`` it fails.
    """
    found = root()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="nsqkit-rabbitmq-"))
    server = Rabbitmq(found, folder)
    try:
        server.start()
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)  # its port programs may still write

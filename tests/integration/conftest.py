"""Real nsqd and nsqlookupd: started on free ports for one test, and stopped by their process ids."""

import contextlib
import http.client
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chromium import AXE_MISSING, axe
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until_blocking

MISSING = "nsqd not found: run scripts/install-nsqd (needs Go); skipping tests that need it"


class Server:
    """One process, which can be stopped and started again on the same ports and data.

    Attributes:
        tcp_address: ``host:port`` of its TCP port.
        http_address: ``host:port`` of its HTTP port.
    """

    def __init__(self, program: Path, folder: Path, *arguments: str) -> None:
        self.tcp_address = f"127.0.0.1:{free_port()}"
        self.http_address = f"127.0.0.1:{free_port()}"
        self._log = folder / f"{program.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            str(program),
            f"-tcp-address={self.tcp_address}",
            f"-http-address={self.http_address}",
            "-broadcast-address=127.0.0.1",
            *arguments,
        ]

    def start(self) -> None:
        """Return when it answers /ping."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            until_blocking(self._answers)
        except AssertionError as error:
            self.stop()
            pytest.fail(f"{self._command} did not start: {error}\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it cleanly (SIGTERM), by force only if that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "it has ended"
        asking = http.client.HTTPConnection(self.http_address, timeout=PATIENCE_S)
        try:
            asking.request("GET", "/ping")
            return asking.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            asking.close()


@pytest.fixture(scope="session")
def nsq_programs() -> Path:
    """The folder of nsqd and nsqlookupd. Without it tests are skipped, and fail in CI."""
    built = Path(__file__).parents[2] / ".nsqd" / "bin"
    folder = Path(os.environ.get("NSQKIT_NSQD_BIN") or built)
    if not all(os.access(folder / name, os.X_OK) for name in ("nsqd", "nsqlookupd")):
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING.partition(";")[0])
        pytest.skip(MISSING)
    return folder


StartNsqd = Callable[..., Server]


@pytest.fixture
def nsqlookupd(nsq_programs: Path, tmp_path: Path) -> Iterator[Server]:
    """A nsqlookupd; the test's nsqd register with it."""
    server = Server(nsq_programs / "nsqlookupd", tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def start_nsqd(request: pytest.FixtureRequest, nsq_programs: Path, tmp_path: Path) -> Iterator[StartNsqd]:
    """A function that starts one more nsqd, with more arguments if given."""
    lookup: tuple[str, ...] = ()
    if "nsqlookupd" in request.fixturenames:
        lookup = (f"-lookupd-tcp-address={request.getfixturevalue('nsqlookupd').tcp_address}",)
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Server:
            folder = tmp_path / f"nsqd-{free_port()}"
            folder.mkdir()
            server = Server(
                nsq_programs / "nsqd",
                folder,
                f"-data-path={folder}",
                *lookup,
                *arguments,
            )
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture
def nsqd(start_nsqd: StartNsqd) -> Server:
    """A nsqd; it registers with the test's nsqlookupd, if there is one."""
    return start_nsqd()


def _quick(nsq_programs: Path, folder: Path, *arguments: str) -> Iterator[Server]:
    server = Server(nsq_programs / "nsqd-quick", folder, f"-data-path={folder}", *arguments)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def quick_nsqd(nsq_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real nsqd whose timers notice a new channel in 100 ms instead of 5 s."""
    yield from _quick(nsq_programs, tmp_path_factory.mktemp("nsqd"))


@pytest.fixture(scope="module")
def limited_nsqd(nsq_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same, with the limits that the contract's LimitsContract asks for."""
    limits = ("-max-msg-timeout=2s", "-max-req-timeout=500ms")
    yield from _quick(nsq_programs, tmp_path_factory.mktemp("nsqd"), *limits)


@pytest.fixture
def source() -> str:
    """The source of axe-core."""
    found = axe()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(AXE_MISSING)
        pytest.skip(AXE_MISSING)
    return found

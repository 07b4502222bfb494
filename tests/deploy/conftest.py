"""The tools that check deploy/, and a Prometheus that watches a live worker."""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from nsqkit import Settings
from tests.e2e.conftest import SAMPLE, Program
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until_blocking

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TOKEN_FILE = "/etc/prometheus/nsqkit-admin-token"
_TOOLS = ROOT / ".deploy-tools"
_MISSING = "{} not found: run scripts/install-deploy-tools, or install systemd; skipping tests that need it"

Tool = Callable[[str], str]


@pytest.fixture(scope="session")
def tool() -> Tool:
    """A function that returns the path of a program. Without it tests are skipped, and fail in CI."""
    folders = (_TOOLS / "prometheus" / "usr" / "bin", _TOOLS / "python" / "bin")
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])

    def find(name: str) -> str:
        found = shutil.which(name, path=path)
        if found is None and os.environ.get("CI") == "true":
            pytest.fail(_MISSING.format(name).partition(";")[0])
        return found or pytest.skip(_MISSING.format(name))

    return find


@dataclass(frozen=True)
class Ended:
    """The end of a program.

    Args:
        code: Its exit code.
        out: What it printed.
        err: What it printed on standard error.
    """

    code: int
    out: str
    err: str


def run(*command: object, cwd: Path | None = None) -> Ended:
    """Run a program to its end."""
    arguments = [str(each) for each in command]
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    return Ended(done.returncode, done.stdout, done.stderr)


ToJson = Callable[[str], list[Any]]


@pytest.fixture(scope="session")
def to_json(tool: Tool) -> ToJson:
    """A function that returns the documents of a YAML text; the tests' own environment has no YAML parser."""
    python = Path(tool("kubernetes-validate")).with_name("python")

    def parse(text: str) -> list[Any]:
        program = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
        done = subprocess.run(
            [python, "-c", program],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        documents: list[Any] = json.loads(done.stdout)
        return documents

    return parse


@pytest.fixture(scope="session")
def pod(to_json: ToJson) -> dict[str, Any]:
    """The specification of the worker's pod in the Kubernetes manifest."""
    deployment, _ = to_json((DEPLOY / "kubernetes" / "worker.yaml").read_text())
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def drain_s() -> float:
    """Return the longest drain with the default settings, by docs/operations.md, with traces."""
    settings = Settings()
    without_answer_s = 10
    return settings.connect_timeout_s + settings.grace_s + 12 + 5 + without_answer_s


class Prometheus:
    """A running Prometheus, asked over HTTP."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now."""
        return self._get("/api/v1/query", query=expression)["result"]  # type: ignore[no-any-return]

    def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            return self._status("/-/ready") == http.client.OK
        except OSError:
            return False

    def _status(self, path: str) -> int:
        client = http.client.HTTPConnection(self._address, timeout=PATIENCE_S)
        try:
            client.request("GET", path)
            return client.getresponse().status
        finally:
            client.close()

    def _get(self, path: str, **query: str) -> Any:
        client = http.client.HTTPConnection(self._address, timeout=PATIENCE_S)
        try:
            client.request("GET", f"{path}?{urlencode(query)}")
            answer = json.loads(client.getresponse().read())
        finally:
            client.close()
        assert answer["status"] == "success", (query, answer)
        return answer["data"]


TOKEN = "the-token-of-the-tests"


@dataclass(frozen=True)
class Worker:
    """A live worker, beyond loopback as in a container: its admin port asks for the token.

    Args:
        program: The process.
        admin_address: ``host:port`` of its admin port.
        token_file: The file with its token.
    """

    program: Program
    admin_address: str
    token_file: Path


@pytest.fixture(scope="module")
def worker(pod: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker with the settings of the Kubernetes manifest; its gateway fails four times out of five."""
    folder = tmp_path_factory.mktemp("worker")
    token_file = folder / "admin-token"
    token_file.write_text(TOKEN)
    admin_port, nsqd_port = free_port(), free_port()
    environment = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    settings = {
        **{name.removeprefix("NSQKIT_").lower(): value for name, value in environment.items()},
        "admin_token_file": token_file,
        "dev_tcp_port": nsqd_port,
        "dev_http_port": free_port(),
        "lookupd_poll_s": 0.5,
    }
    options = [option for name, value in settings.items() for option in ("--set", f"{name}={value}")]
    options += ["--admin-port", str(admin_port), "--app", "payment_failure_ratio=0.8"]
    modules = ("handlers.orders", "tests.deploy.parcels")
    programs = [Program(folder, "run", *modules, "--dev", *options)]
    try:
        programs[0].until(lambda: programs[0].said("worker_started"))
        feed = ("publish", "orders", "--file", str(SAMPLE), "--rate", "30")
        (folder / "feed").mkdir()
        programs.append(Program(folder / "feed", *feed, "--nsqd", f"127.0.0.1:{nsqd_port}"))
        yield Worker(programs[0], f"127.0.0.1:{admin_port}", token_file)
    finally:
        for each in programs:
            each.kill()


def faster(text: str) -> str:
    """Return a configuration or rules in which a minute lasts a second, and 15 seconds last one, too."""
    return re.sub(r"\b(\d+)m\b", r"\1s", text.replace("15s", "1s"))


@pytest.fixture(scope="module")
def prometheus(tool: Tool, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with the configuration and the rules of deploy/, whose minutes last a second."""
    folder = tmp_path_factory.mktemp("prometheus")
    for source in (DEPLOY / "prometheus").glob("*.yml"):
        (folder / source.name).write_text(faster(source.read_text()))
    config = folder / "prometheus.yml"
    text = config.read_text().replace(TOKEN_FILE, str(worker.token_file))
    config.write_text(text.replace("127.0.0.1:9464", worker.admin_address))
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        found = Prometheus(address)
        until_blocking(found.is_ready)
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE_S)

"""deploy/kubernetes: the manifests are valid, the probes get answers, and a drain has its time."""

from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.cli import main
from tests.deploy.conftest import DEPLOY, TOKEN, Tool, Worker, drain_s, run
from tests.e2e.conftest import get
from tests.waiting import until_blocking

MANIFESTS = DEPLOY / "kubernetes" / "worker.yaml"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.mark.parametrize("version", ["1.27", "1.32", "1.37"])
def test_kubernetes_accepts_the_manifests(tool: Tool, version: str) -> None:
    ended = run(tool("kubernetes-validate"), "--strict", "--kubernetes-version", version, MANIFESTS)
    assert ended.code == 0, ended.out + ended.err


def test_a_worker_has_the_time_to_drain(pod: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] >= drain_s()


def test_the_probes_ask_the_admin_port(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings().admin_port
    assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}


@pytest.mark.slow
def test_a_worker_with_the_settings_of_the_manifest_answers_the_probes(
    worker: Worker, pod: dict[str, Any]
) -> None:
    (container,) = pod["containers"]
    paths = {container[probe]["httpGet"]["path"] for probe in PROBES}
    until_blocking(lambda: {get(worker.admin_address, path)[0] for path in paths} == {200})
    assert get(worker.admin_address, "/metrics")[0] == 401
    assert TOKEN not in get(worker.admin_address, "/readyz")[1]


def test_the_command_has_options_that_nsqkit_knows(
    pod: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (container,) = pod["containers"]
    program, *arguments = container["command"]
    assert program == "nsqkit"
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: shop.payments: ")


def test_the_token_is_mounted_where_the_worker_reads_it(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert env["NSQKIT_ADMIN_TOKEN_FILE"] == f"{mount['mountPath']}/token"
    assert [volume["name"] for volume in pod["volumes"] if "secret" in volume] == [mount["name"]]

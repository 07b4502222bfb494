"""deploy/kubernetes: the manifests are valid, the probes get answers, and a drain has its time."""

from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.cli import main
from tests.deploy.conftest import DEPLOY, Tool, drain_s, run

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

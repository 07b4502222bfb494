"""deploy/prometheus: the rules do what their stories say, and a real Prometheus watches a live worker."""

import json
import re
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, Tool, run

FOLDER = DEPLOY / "prometheus"
ALERTS = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
RECORDS = re.findall(r"- record: (\S+)", (FOLDER / "recording.yml").read_text())
STORIES = (FOLDER / "rules_test.yml").read_text()
PAGE = (ROOT / "docs" / "deployment.md").read_text()


def test_the_rules_do_what_their_stories_say(tool: Tool) -> None:
    ended = run(tool("promtool"), "test", "rules", FOLDER / "rules_test.yml")
    assert ended.code == 0, ended.out + ended.err


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_in_a_story_and_is_explained(alert: str) -> None:
    assert re.search(rf"\b{alert}\b", STORIES)
    assert f"| `{alert}` |" in PAGE


def test_the_page_explains_no_other_alert() -> None:
    assert set(re.findall(r"`(Nsqkit\w+)`", PAGE)) == set(ALERTS)


def test_the_configuration_is_valid(tool: Tool) -> None:
    ended = run(tool("promtool"), "check", "config", "--syntax-only", FOLDER / "prometheus.yml")
    assert (ended.code, ended.err) == (0, "")


POD = """static_configs:
      - targets: ["10.1.2.3:9464"]
        labels:
          __meta_kubernetes_pod_container_port_name: {port}
          __meta_kubernetes_pod_phase: {phase}
          __meta_kubernetes_namespace: shop
          __meta_kubernetes_pod_name: payments-1
"""


@pytest.mark.parametrize(
    ("port", "phase", "is_scraped"),
    [
        pytest.param("nsqkit-admin", "Running", True, id="a worker"),
        pytest.param("http", "Running", False, id="another port"),
        pytest.param("nsqkit-admin", "Succeeded", False, id="a worker that has ended"),
    ],
)
def test_pods_are_scraped_by_the_name_of_their_port(
    tool: Tool,
    tmp_path: Path,
    *,
    port: str,
    phase: str,
    is_scraped: bool,
) -> None:
    """Debian's Prometheus cannot discover pods: fixed labels replace the discovery."""
    text = (FOLDER / "kubernetes.yml").read_text()
    discovery = "kubernetes_sd_configs:\n      - role: pod\n"
    assert discovery in text
    for rules in ("recording.yml", "alerts.yml"):
        (tmp_path / rules).write_text((FOLDER / rules).read_text())
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace(discovery, POD.format(port=port, phase=phase)))
    ended = run(tool("promtool"), "check", "service-discovery", "--timeout=1s", config, "nsqkit")
    assert ended.code == 0, ended.err
    (target,) = json.loads(ended.out)
    labels = {"instance": "10.1.2.3:9464", "job": "nsqkit", "namespace": "shop", "pod": "payments-1"}
    assert {name: (target["labels"] or {}).get(name) for name in labels} == (
        labels if is_scraped else dict.fromkeys(labels)
    )

"""A live worker, whose gateway fails, is watched by a real Prometheus: alerts, dashboard and probes.

A minute of the rules and of the dashboard lasts a second here.
"""

from typing import Any

import pytest

from tests.deploy.conftest import TOKEN, Prometheus, Worker, faster
from tests.deploy.test_grafana import PANELS, VARIABLES
from tests.deploy.test_kubernetes import PROBES
from tests.deploy.test_prometheus import RECORDS
from tests.e2e.conftest import get
from tests.waiting import until_blocking

pytestmark = pytest.mark.slow

QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]


def test_the_admin_port_asks_prometheus_for_the_token(worker: Worker, prometheus: Prometheus) -> None:
    assert get(worker.admin_address, "/metrics")[0] == 401
    until_blocking(lambda: prometheus.query('up{job="nsqkit"} == 1'))


def test_the_alert_fires_for_the_handler_that_fails_and_for_no_other(prometheus: Prometheus) -> None:
    def firing() -> set[str]:
        found = prometheus.query('ALERTS{alertname="NsqkitRequeueRateHigh", alertstate="firing"}')
        return {series["metric"]["handler"] for series in found}

    assert until_blocking(firing) == {"ChargePayment"}


@pytest.mark.parametrize("record", RECORDS)
def test_a_recorded_figure_is_a_number(prometheus: Prometheus, record: str) -> None:
    found = until_blocking(lambda: prometheus.query(record))
    assert [series for series in found if series["value"][1] == "NaN"] == []


def test_an_idle_handler_has_no_ratio(prometheus: Prometheus) -> None:
    def handlers(record: str) -> set[str]:
        return {series["metric"]["handler"] for series in prometheus.query(record)}

    idle = handlers("handler:nsqkit_messages_received:rate5m") - handlers(
        "handler:nsqkit_requeues:ratio_rate5m"
    )
    assert idle == {"BookCarrier"}


def filled_in(expression: str) -> str:
    """Return a query as Grafana sends it, for all handlers."""
    interval = expression.replace("$__rate_interval", "5m")
    return faster(interval.replace("$handler", VARIABLES["handler"]["allValue"]))


@pytest.mark.parametrize("expression", QUERIES)
def test_a_query_returns_data(prometheus: Prometheus, expression: str) -> None:
    assert "$" not in filled_in(expression)
    until_blocking(lambda: prometheus.query(filled_in(expression)))


def test_a_worker_with_the_settings_of_the_manifest_answers_the_probes(
    worker: Worker, pod: dict[str, Any]
) -> None:
    (container,) = pod["containers"]
    paths = {container[probe]["httpGet"]["path"] for probe in PROBES}
    until_blocking(lambda: {get(worker.admin_address, path)[0] for path in paths} == {200})
    assert get(worker.admin_address, "/metrics")[0] == 401
    assert TOKEN not in get(worker.admin_address, "/readyz")[1]

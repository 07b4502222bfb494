import pytest

from tests.chaos.accounts import miscounts


def metrics(*, received: int, success: int, requeue: int, in_flight: int) -> str:
    labels = 'topic="orders",channel="chaos",handler="Orders"'
    return f"""
# TYPE nsqkit_messages_received counter
nsqkit_messages_received_total{{{labels}}} {received}
# TYPE nsqkit_messages_processed counter
nsqkit_messages_processed_total{{{labels},outcome="success"}} {success}
nsqkit_messages_processed_total{{{labels},outcome="requeue"}} {requeue}
# TYPE nsqkit_in_flight gauge
nsqkit_in_flight{{{labels}}} {in_flight}
# TYPE nsqkit_max_in_flight gauge
nsqkit_max_in_flight{{{labels}}} 100
"""


def test_every_delivery_has_one_outcome_or_is_in_flight() -> None:
    assert list(miscounts(metrics(received=10, success=7, requeue=2, in_flight=1))) == []


@pytest.mark.parametrize(
    ("success", "in_flight"),
    [
        pytest.param(8, 0, id="two outcomes for one"),
        pytest.param(6, 0, id="none for one"),
        pytest.param(7, -1, id="one left twice"),
    ],
)
def test_all_else_is_a_line(success: int, in_flight: int) -> None:
    (line,) = miscounts(metrics(received=9, success=success, requeue=2, in_flight=in_flight))
    assert (
        line == f"Orders received 9 deliveries, counted {success + 2} outcomes, and has {in_flight} in flight"
    )

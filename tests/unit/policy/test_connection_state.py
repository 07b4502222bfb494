"""Connection state: one word for all connections of a handler to an nsqd."""

import pytest

from nsqkit.policy.connection_state import ConnectionState, connection_state

BOTH = {"orders", "orders.stock.retry"}


@pytest.mark.parametrize(
    ("wanted", "live", "absent", "expected"),
    [
        pytest.param(BOTH, BOTH, set(), ConnectionState.SUBSCRIBED, id="all topics are subscribed"),
        pytest.param(BOTH, {"orders"}, set(), ConnectionState.DISCONNECTED, id="one is missing"),
        pytest.param(BOTH, set(), set(), ConnectionState.DISCONNECTED, id="all are missing"),
        pytest.param(
            BOTH,
            {"orders.stock.retry"},
            {"orders"},
            ConnectionState.TOPIC_ABSENT,
            id="nsqd has no such topic",
        ),
        pytest.param(
            BOTH, set(), {"orders"}, ConnectionState.DISCONNECTED, id="absent, and another is missing"
        ),
        pytest.param(BOTH, BOTH, {"orders"}, ConnectionState.SUBSCRIBED, id="absent earlier, and back"),
        pytest.param(
            set(), {"orders"}, set(), ConnectionState.SUBSCRIBED, id="not wanted any more, and still working"
        ),
    ],
)
def test_the_state_of_the_connections(
    wanted: set[str], live: set[str], absent: set[str], expected: ConnectionState
) -> None:
    assert connection_state(wanted, live, absent) is expected

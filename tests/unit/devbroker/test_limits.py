import pytest

from nsqkit.devbroker.limits import Limits
from nsqkit.errors import SettingsError


def test_the_defaults_are_those_of_nsqd() -> None:
    limits = Limits()
    assert (limits.max_msg_bytes, limits.max_body_bytes, limits.max_rdy_count) == (1048576, 5242880, 2500)
    assert (limits.msg_timeout_s, limits.max_msg_timeout_s, limits.max_req_timeout_s) == (60, 900, 3600)
    assert (limits.heartbeat_s, limits.max_heartbeat_s, limits.mem_queue_size) == (30, 60, 10_000)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param({"max_msg_bytes": 0}, "max_msg_bytes=0 is below 1", id="a message has a byte"),
        pytest.param({"max_body_bytes": 0}, "max_body_bytes=0 is below 1", id="so has a body"),
        pytest.param({"max_rdy_count": 0}, "max_rdy_count=0 is below 1", id="a client can be ready"),
        pytest.param({"msg_timeout_s": 0.0}, "msg_timeout_s=0.0 is not above 0", id="a timeout takes time"),
        pytest.param({"heartbeat_s": -1.0}, "heartbeat_s=-1.0 is not above 0", id="a heartbeat too"),
        pytest.param({"max_msg_timeout_s": 59.0}, "max_msg_timeout_s=59.0 is below 60", id="a cap caps"),
        pytest.param({"max_heartbeat_s": 29.0}, "max_heartbeat_s=29.0 is below 30", id="this one too"),
        pytest.param({"max_req_timeout_s": -1.0}, "max_req_timeout_s=-1.0 is below 0", id="no past"),
        pytest.param({"mem_queue_size": -1}, "mem_queue_size=-1 is below 0", id="no negative memory"),
        pytest.param({"msg_timeout_s": float("nan")}, "msg_timeout_s=nan is not above 0", id="nan is none"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(values: dict[str, float], problem: str) -> None:
    with pytest.raises(SettingsError, match=f"^{problem}$"):
        Limits(**values)  # type: ignore[arg-type]  # the table mixes the fields' types

import pytest

from nsqkit.devbroker.config import Config
from nsqkit.devbroker.routes import Answer, ApiError
from tests.unit.devbroker.http_errors import LIMITS
from tests.unit.devbroker.test_api import INFO


@pytest.fixture
def config() -> Config:
    return Config(LIMITS, INFO, ("127.0.0.1:4160",), "/data")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_msg_size", 10),
        ("max_body_size", 100),
        ("max_rdy_count", 2500),
        ("max_req_timeout", 3_600_000_000_000),
        ("msg_timeout", 60_000_000_000),
        ("max_msg_timeout", 900_000_000_000),
        ("max_heartbeat_interval", 60_000_000_000),
        ("tcp_address", "127.0.0.1:4150"),
        ("nsqlookupd_tcp_addresses", ["127.0.0.1:4160"]),
        ("data_path", "/data"),
        ("log_level", 2),
        ("tls_cert", ""),
    ],
)
def test_config_tells_sizes_in_bytes_and_times_in_nanoseconds(
    config: Config, option: str, value: Answer
) -> None:
    assert config.get(option) == value


def test_an_unknown_option_is_refused(config: Config) -> None:
    with pytest.raises(ApiError) as caught:
        config.get("nope")
    assert (caught.value.status, caught.value.code) == (400, "INVALID_OPTION")


@pytest.mark.parametrize(
    ("body", "level"), [(b"debug", 1), (b"INFO", 2), (b"Warn", 3), (b"error", 4), (b"fatal", 5)]
)
def test_the_log_level_is_set_by_name_and_answered_as_a_number(
    config: Config, body: bytes, level: int
) -> None:
    assert config.put("log_level", body) == level
    assert config.get("log_level") == level


@pytest.mark.parametrize(
    ("body", "answer", "told"),
    [
        pytest.param(b'["a:1", "b:2"]', ["a:1", "b:2"], ("a:1", "b:2"), id="two"),
        pytest.param(b"[]", [], (), id="none"),
        pytest.param(b"null", None, (), id="null"),
        pytest.param(b"[null]", [""], ("",), id="a null among them"),
    ],
)
def test_nsqlookupds_addresses_are_set_and_told(
    config: Config, body: bytes, answer: Answer, told: tuple[str, ...]
) -> None:
    heard: list[tuple[str, ...]] = []
    config.on_lookupd = heard.append
    assert config.put("nsqlookupd_tcp_addresses", body) == answer
    assert config.get("nsqlookupd_tcp_addresses") == answer
    assert heard == [told]


@pytest.mark.parametrize(
    ("option", "body", "status", "code"),
    [
        ("log_level", b"loud", 400, "INVALID_VALUE"),
        ("log_level", b"\xff", 400, "INVALID_VALUE"),
        ("log_level", b"", 413, "INVALID_VALUE"),
        ("nsqlookupd_tcp_addresses", b"x", 400, "INVALID_VALUE"),
        ("nsqlookupd_tcp_addresses", b'{"a": 1}', 400, "INVALID_VALUE"),
        ("nsqlookupd_tcp_addresses", b"[1]", 400, "INVALID_VALUE"),
        ("max_msg_size", b"5", 400, "INVALID_OPTION"),
        ("nope", b"5", 400, "INVALID_OPTION"),
        ("nope", b"", 413, "INVALID_VALUE"),
    ],
)
def test_what_cannot_be_set_is_refused(
    config: Config, option: str, body: bytes, status: int, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        config.put(option, body)
    assert (caught.value.status, caught.value.code) == (status, code)

"""Standard logging: records of libraries become lines, and lines of nsqkit become records."""

import io
import json
import logging
from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.standard_logging import standard_logger

LIBRARY = json.__file__


class _Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def _json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _configured(log_level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure_logs(Settings(log_format="json", log_level=log_level), stream)
    return stream


def _logged(name: str, level: int, file: str = LIBRARY) -> None:
    """Log a record as code of a file does; a library's by default."""
    logger = logging.getLogger(name)
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(name, level, file, 1, "said", (), None))


def test_standard_logging_comes_out_the_same_way() -> None:
    stream = _configured()
    logging.getLogger("asyncio").warning("took %.1f s", 2.5)
    (line,) = _json_lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("took 2.5 s", "warning", "asyncio")


def test_standard_logging_loses_no_line_to_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own raises on a bad format
    stream = _configured()
    logging.getLogger("team").error("%d", "x")
    logging.getLogger("team").error("%s", _Unreadable())
    first, second = _json_lines(stream)
    assert first["event"] == "%d ('x',)"
    assert second["event"].startswith("%s ")


@pytest.mark.parametrize(
    ("number", "level"),
    [
        pytest.param(logging.INFO + 5, "info", id="between info and warning"),
        pytest.param(logging.CRITICAL + 5, "critical", id="above critical"),
    ],
)
def test_a_level_of_ones_own_is_the_next_lower_known_one(number: int, level: str) -> None:
    stream = _configured()
    logging.getLogger("team").log(number, "odd")
    assert _json_lines(stream)[0]["level"] == level


def test_lines_of_libraries_about_connections_and_requests_are_silenced() -> None:
    stream = _configured(log_level="debug")
    logging.getLogger("nsq.client").error("failed to unpack size")
    logging.getLogger("tornado.access").warning("404 GET /")
    logging.getLogger("tornado.general").info("Malformed HTTP message from 10.0.0.1")
    logging.getLogger("aio_pika.connection").warning("Connection attempt failed")
    logging.getLogger("aiormq.connection").error("error when creating transport")
    assert stream.getvalue() == ""


def test_extra_fields_are_kept() -> None:
    stream = _configured()
    logging.getLogger("team").warning("slow", extra={"order": 7, "password": "hush-1", "asked": [1, 2]})
    (line,) = _json_lines(stream)
    assert (line["event"], line["order"], line["asked"], line["password"]) == (
        "slow",
        7,
        [1, 2],
        "[redacted]",
    )
    assert line.keys() == {"timestamp", "level", "event", "logger", "order", "asked", "password"}


def test_an_extra_field_does_not_replace_one_of_every_line() -> None:
    stream = _configured()
    logging.getLogger("team").warning(
        "slow", extra={"event": "e", "level": "l", "timestamp": "t", "logger": "x"}
    )
    (line,) = _json_lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("slow", "warning", "team")
    assert (line["event_"], line["level_"], line["timestamp_"], line["logger_"]) == ("e", "l", "t", "x")


def test_an_exception_and_a_stack_are_kept() -> None:
    stream = _configured()
    try:
        json.loads("{")
    except ValueError:
        logging.getLogger("team").exception("failed", stack_info=True)
    (line,) = _json_lines(stream)
    assert "JSONDecodeError" in line["exception"]
    assert "test_an_exception_and_a_stack_are_kept" in line["stack"]


@pytest.mark.parametrize(
    ("level", "file", "is_written"),
    [
        pytest.param(logging.INFO, __file__, True, id="the team's own code at info"),
        pytest.param(logging.INFO, LIBRARY, False, id="a library at info"),
        pytest.param(logging.WARNING, LIBRARY, True, id="a library at warning"),
    ],
)
def test_libraries_write_warnings_and_above(level: int, file: str, *, is_written: bool) -> None:
    stream = _configured()
    _logged("client.pool", level, file)
    assert bool(stream.getvalue()) is is_written


def test_a_library_writes_more_where_its_level_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _configured("debug")
    monkeypatch.setattr(logging.getLogger("client"), "level", logging.DEBUG)
    _logged("client.pool", logging.DEBUG)
    _logged("other", logging.DEBUG)
    assert [line["logger"] for line in _json_lines(stream)] == ["client.pool"]


def test_records_of_nsqkit_are_no_librarys() -> None:
    stream = _configured()
    _logged("nsqkit.devbroker", logging.INFO)
    assert len(_json_lines(stream)) == 1


def test_no_line_is_doubled_by_a_handler_for_the_same_stream() -> None:
    stream, file = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    root.addHandler(logging.StreamHandler(stream))
    root.addHandler(logging.StreamHandler(file))
    logs.configure_logs(Settings(log_format="json"), stream)
    logging.getLogger("team").warning("once")
    assert len(_json_lines(stream)) == 1
    assert file.getvalue() == "once\n"


class TestToRecords:
    """Lines of nsqkit as records."""

    @pytest.fixture(autouse=True)
    def _at_info(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

    def test_level_name_message_and_fields_are_kept(self, caplog: pytest.LogCaptureFixture) -> None:
        standard_logger("nsqkit").bind(handler="Charge").warning(
            "intake_paused", reason="kill switch", for_s=2.5
        )
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("nsqkit", "WARNING")
        assert record.getMessage() == "intake_paused handler=Charge reason='kill switch' for_s=2.5"
        assert (record.__dict__["handler"], record.__dict__["for_s"]) == ("Charge", 2.5)

    def test_a_field_with_the_name_of_an_attribute_is_renamed(self, caplog: pytest.LogCaptureFixture) -> None:
        standard_logger("nsqkit").info("moved", name="x", message="100 %s", args=1)
        (record,) = caplog.records
        assert record.getMessage() == "moved name=x message='100 %s' args=1"
        assert (record.name, record.__dict__["name_"], record.__dict__["args_"]) == ("nsqkit", "x", 1)

    def test_an_error_is_kept(self, caplog: pytest.LogCaptureFixture) -> None:
        error = ValueError("no")
        standard_logger("nsqkit").error("failed", exc_info=error)
        assert caplog.records[0].exc_info == (ValueError, error, None)

    def test_secrets_are_masked(self, caplog: pytest.LogCaptureFixture) -> None:
        standard_logger("nsqkit").info("asked", password="hush-1", url="amqp://bob:hush-2@mq/")
        assert "hush" not in str(caplog.records[0].__dict__)

    def test_a_stack_follows_the_message(self, caplog: pytest.LogCaptureFixture) -> None:
        standard_logger("nsqkit").info("handler_stack", exception="Traceback\n  f()", handler="Charge")
        assert caplog.records[0].getMessage() == "handler_stack handler=Charge\nTraceback\n  f()"

    def test_what_standard_logging_drops_is_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        standard_logger("nsqkit").debug("noted", value=_Unreadable())
        assert caplog.records == []

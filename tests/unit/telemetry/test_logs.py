"""Logs: which lines come out, in which form, and that none is lost."""

import dataclasses
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from nsqkit.policy.redaction import is_secret_name
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.log_fields import LONGEST
from tests.reference.meanings import FIELDS


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class _Unprintable(Exception):  # noqa: N818 - it is what a team's error may look like
    def __str__(self) -> str:
        raise RuntimeError("no")


def _fail(password: str) -> None:
    raise _Unprintable(password)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    for name in ("nsq", "tornado.access", "tornado.general"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def _json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _configured(
    log_format: str = "json", log_level: str = "info", stream: io.StringIO | None = None
) -> io.StringIO:
    stream = stream or io.StringIO()
    logs.configure(Settings(log_format=log_format, log_level=log_level), stream)
    return stream


def test_a_line_is_json_with_the_fixed_names_first() -> None:
    stream = _configured()
    logs.get_logger(handler="Reserve").warning("handler_failed", attempts=3, latency_ms=1.5)
    (line,) = _json_lines(stream)
    assert list(line) == ["timestamp", "level", "event", "handler", "attempts", "latency_ms"]
    assert (line["level"], line["event"], line["attempts"]) == ("warning", "handler_failed", 3)
    assert line["timestamp"].endswith("Z")


def test_a_logger_may_be_less_talkative_than_what_is_configured() -> None:
    stream = _configured(log_level="debug")
    for say in (logs.get_logger_from("warning"), logs.get_logger_from("warning").bind(n=1)):
        say.info("too_little")
        say.warning("enough")
    assert [line["event"] for line in _json_lines(stream)] == ["enough", "enough"]


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json", "is_coloured"),
    [
        pytest.param("auto", io.StringIO(), True, False, id="auto off a terminal is JSON"),
        pytest.param("auto", _Terminal(), False, True, id="auto on a terminal is coloured console"),
        pytest.param("json", _Terminal(), True, False, id="JSON on a terminal when asked"),
        pytest.param("console", io.StringIO(), False, False, id="console in a file has no colours"),
    ],
)
def test_format(
    log_format: str, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, is_json: bool, is_coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    _configured(log_format, stream=stream)
    logs.get_logger().info("started", topic="orders")
    assert stream.getvalue().startswith("{") == is_json
    assert ("\x1b[" in stream.getvalue()) == is_coloured


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = _configured("auto", stream=_Terminal())
    logs.get_logger().info("started")
    assert "\x1b[" not in stream.getvalue()


def test_the_level_holds_for_both_kinds_of_logger() -> None:
    stream = _configured(log_level="warning")
    logs.get_logger().info("quiet")
    logging.getLogger("team").info("quiet")
    logs.get_logger().error("loud")
    logging.getLogger("team").error("loud")
    assert [line["event"] for line in _json_lines(stream)] == ["loud", "loud"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(_Unreadable(), "<_Unreadable: its repr raised RuntimeError>", id="a repr that raises"),
        pytest.param(2**80, str(2**80), id="a number too long for JSON"),
        pytest.param("\udc80", "\\udc80", id="half a surrogate pair"),
        pytest.param(b"\xff", "b'\\xff'", id="bytes"),
        pytest.param({1: {2}}, {"1": "{2}"}, id="keys that are not text, and a set"),
    ],
)
def test_json_loses_no_line_to_a_value(value: object, shown: object) -> None:
    stream = _configured()
    logs.get_logger().info("odd", value=value, attempts=3, handler="Reserve")
    (line,) = _json_lines(stream)
    assert line["value"] == shown
    assert (line["event"], line["attempts"], line["handler"]) == ("odd", 3, "Reserve")


def test_json_loses_no_line_to_a_structure_that_holds_itself() -> None:
    stream = _configured()
    loop: list[object] = []
    loop.append(loop)
    logs.get_logger().info("odd", value=loop)
    assert _json_lines(stream)[0]["value"] == "[[...]]"


def test_console_loses_no_line_to_a_value() -> None:
    stream = _configured("console")
    logs.get_logger().info("odd", value=_Unreadable(), attempts=3)
    assert "odd" in stream.getvalue()
    assert "attempts=3" in stream.getvalue()


def test_console_shows_control_characters_instead_of_obeying_them() -> None:
    stream = _configured("console", stream=_Terminal())
    logs.get_logger().info("odd\x1b[2J", body="\x1b]0;owned\x07", note="two\nlines")
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_stays_without_local_variables(log_format: str) -> None:
    stream = _configured(log_format)
    try:
        _fail("hunter" + "2")
    except _Unprintable:
        logs.get_logger().exception("handler_failed")
    text = stream.getvalue()
    assert "handler_failed" in text
    assert "_Unprintable" in text
    assert "hunter2" not in text


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


def test_pynsq_and_tornados_lines_about_requests_are_silenced() -> None:
    stream = _configured(log_level="debug")
    logging.getLogger("nsq.client").error("failed to unpack size")
    logging.getLogger("tornado.access").warning("404 GET /")
    logging.getLogger("tornado.general").info("Malformed HTTP message from 10.0.0.1")
    assert stream.getvalue() == ""


def test_context_variables_are_in_every_line() -> None:
    stream = _configured()
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        logs.get_logger().info("inside")
    logs.get_logger().info("outside")
    assert [line.get("request_id") for line in _json_lines(stream)] == ["r1", None]


def test_configuring_again_moves_every_logger_and_doubles_none() -> None:
    first = _configured()
    held = logs.get_logger(handler="Reserve")
    second = _configured()
    held.info("once")
    logging.getLogger("team").info("once")
    assert first.getvalue() == ""
    assert len(_json_lines(second)) == 2


def test_a_closed_stream_stops_nobody() -> None:
    stream = _configured()
    stream.close()
    logs.get_logger().info("unheard")


def test_a_character_that_the_stream_cannot_spell_is_escaped() -> None:
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii")
    logs.configure(Settings(log_format="console"), ascii_only)
    logs.get_logger().info("naïve")
    assert b"na\\xefve" in raw.getvalue()


def _raise(text: str) -> None:
    raise LookupError(text)


@dataclasses.dataclass
class _Login:
    user: str
    password: str


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_has_a_secret_whoever_has_given_its_fields(log_format: str) -> None:
    stream = _configured(log_format)
    log = logs.get_logger(password="hush-1").bind(api_key="hush-2")
    log.info("bound", pwd=["hush-3"], token_count=7, note="Authorization: Token hush-4")
    log.info("nested", request={"headers": {"cookie": "hush-5"}, "sku": "a-1"}, login=_Login("bob", "hush-6"))
    logging.getLogger("team").warning("refused %s", "amqp://bob:hush-7@mq/")
    try:
        _raise("passphrase='hush-8 hush-9'")
    except LookupError:
        log.exception("failed")
    text = stream.getvalue()
    assert "hush-" not in text
    assert "a-1" in text
    assert "bob" in text
    assert "LookupError: passphrase=[redacted]" in text


def test_ids_stay_as_they_are_and_endless_fields_are_cut() -> None:
    stream = _configured()
    logs.get_logger().info(
        "x", message_id="4111111111111111", event_id="a@b.org", note="y" * 10**6, n=2.5, b=True
    )
    (line,) = _json_lines(stream)
    assert (line["message_id"], line["event_id"], line["n"], line["b"]) == (
        "4111111111111111",
        "a@b.org",
        2.5,
        True,
    )
    assert len(line["note"]) == LONGEST


def test_a_stack_of_the_console_cannot_control_the_terminal() -> None:
    stream = _configured("console", stream=_Terminal())
    try:
        _raise("\x1b]0;owned\x07\r")
    except LookupError:
        logs.get_logger().exception("failed")
    assert "\x1b]0" not in stream.getvalue()
    assert "LookupError: \\x1b]0;owned\\x07\\r" in stream.getvalue()


def test_json_on_a_terminal_cannot_control_it_either() -> None:
    stream = _configured()
    logs.get_logger().info("x", note="\x9b31m\u202e")
    assert stream.getvalue().strip().isprintable()
    assert _json_lines(stream)[0]["note"] == "\x9b31m\u202e"


def test_no_field_of_nsqkit_has_the_name_of_a_secret() -> None:
    assert [name for name in FIELDS if is_secret_name(name)] == []


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    logs.get_logger().info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert '"event":"here"' in captured.err

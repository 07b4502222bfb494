"""Logs: which lines come out, in which form, and that none is lost."""

import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from nsqkit import Context, Worker
from nsqkit.handler.current import CURRENT
from nsqkit.policy.redaction import is_secret_name
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.log_fields import LONGEST
from tests.reference.meanings import FIELDS
from tests.unit.runtime.bench import Bench, Happened, asynchronous


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


def _json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _configured(
    log_format: str = "json", log_level: str = "info", stream: io.StringIO | None = None
) -> io.StringIO:
    stream = stream or io.StringIO()
    logs.configure_logs(Settings(log_format=log_format, log_level=log_level), stream)
    return stream


def test_a_line_is_json_with_the_fixed_names_first() -> None:
    stream = _configured()
    logs.get_logger(handler="Reserve").warning("handler_failed", attempts=3, latency_ms=1.5)
    (line,) = _json_lines(stream)
    assert list(line) == ["timestamp", "level", "event", "handler", "attempts", "latency_ms"]
    assert (line["level"], line["event"], line["attempts"]) == ("warning", "handler_failed", 3)
    assert line["timestamp"].endswith("Z")


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
    logs.configure_logs(Settings(log_format="console"), ascii_only)
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
    logs.configure_logs(Settings())
    logs.get_logger().info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert '"event":"here"' in captured.err


class Message:
    """A message, as the log names it."""

    log_fields = {"message_id": "m-1", "handler": "Charge"}  # noqa: RUF012 - as of a message


@pytest.fixture
def in_handler() -> Iterator[None]:
    """The test is code that a handler calls."""
    token = CURRENT.set(Message())
    yield
    CURRENT.reset(token)


@pytest.mark.usefixtures("in_handler")
class TestInsideAHandler:
    """Every line names the message, whoever writes it."""

    def test_plain_structlog_does(self) -> None:
        stream = _configured()
        structlog.get_logger("shop").info("charged", order=7)
        (line,) = _json_lines(stream)
        assert (line["message_id"], line["handler"], line["order"]) == ("m-1", "Charge", 7)

    def test_standard_logging_of_a_library_does(self) -> None:
        stream = _configured()
        logging.getLogger("client").warning("slow")
        (line,) = _json_lines(stream)
        assert (line["message_id"], line["handler"], line["logger"]) == ("m-1", "Charge", "client")

    def test_a_warning_of_python_does(self) -> None:
        stream = _configured()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old password=hush-1", DeprecationWarning, stacklevel=1)
        (line,) = _json_lines(stream)
        assert (line["event"], line["level"], line["message_id"]) == ("python_warning", "warning", "m-1")
        assert (line["category"], line["detail"]) == ("DeprecationWarning", "old password=[redacted]")
        assert line["at"].startswith(f"{__file__}:")

    def test_what_a_handler_binds_is_in_lines_of_others(self) -> None:
        stream = _configured()
        with structlog.contextvars.bound_contextvars(order=7):
            logging.getLogger("client").warning("slow")
        assert _json_lines(stream)[0]["order"] == 7

    def test_a_field_of_the_line_itself_is_kept(self) -> None:
        stream = _configured()
        structlog.get_logger().info("compared", handler="other")
        assert _json_lines(stream)[0]["handler"] == "other"

    def test_a_line_of_nsqkit_does_not_by_itself(self) -> None:
        """A connection that opens now is not the message's; lines about the message name it anyway."""
        stream = _configured()
        logs.get_logger(nsqd="127.0.0.1:4150").info("nsqd_connected")
        assert "message_id" not in _json_lines(stream)[0]

    @pytest.mark.parametrize("log_format", ["json", "console"])
    def test_no_format_needs_more(self, log_format: str) -> None:
        stream = _configured(log_format)
        structlog.get_logger().info("charged")
        assert "m-1" in stream.getvalue()


async def test_a_real_handler_and_its_library_write_the_same_ids() -> None:
    stream = _configured()

    async def work(_event: Happened, ctx: Any) -> None:
        structlog.get_logger().info("by structlog")
        logging.getLogger("client").error("by a library")

    await Bench(asynchronous(work)).run()
    assert [line["message_id"] for line in _json_lines(stream)] == ["0000000000000001"] * 2


class TestConsole:
    def test_is_short_and_folds_unless_details_are_asked_for(self) -> None:
        stream = _configured("console")
        logs.get_logger().warning("worker_ready", handler="Charge", message_id="0" * 16)
        assert stream.getvalue().endswith(" warning  Charge         worker_ready  00000000\n")
        assert logs.folds_failures()

    def test_has_all_fields_at_level_debug(self) -> None:
        stream = _configured("console", "debug")
        logs.get_logger().warning("worker_ready", handler="Charge", message_id="0" * 16)
        assert f"message_id={'0' * 16} " not in stream.getvalue()[:30]
        assert f"message_id={'0' * 16}" in stream.getvalue()
        assert not logs.folds_failures()

    def test_json_folds_nothing(self) -> None:
        _configured("json")
        assert not logs.folds_failures()


class TestOfAProgram:
    """A program's logging is its own: nsqkit configures nothing unless it is asked to."""

    def test_without_any_configuration_lines_go_through_standard_logging(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        logs.get_logger(handler="Charge").info("intake_paused", for_s=2.5)
        assert caplog.record_tuples == [("nsqkit", logging.INFO, "intake_paused handler=Charge for_s=2.5")]

    def test_with_structlog_configured_lines_go_through_it(self, caplog: pytest.LogCaptureFixture) -> None:
        log = logs.get_logger(handler="Charge")
        with structlog.testing.capture_logs() as lines:
            log.warning("intake_paused", for_s=2.5)
        assert lines == [
            {"event": "intake_paused", "handler": "Charge", "for_s": 2.5, "log_level": "warning"}
        ]
        assert caplog.records == []

    @pytest.mark.parametrize(
        "configure",
        [
            pytest.param(lambda: None, id="nothing is configured"),
            pytest.param(lambda: logging.getLogger().setLevel("ERROR"), id="standard logging is"),
            pytest.param(
                lambda: structlog.configure(processors=[structlog.processors.KeyValueRenderer()]),
                id="structlog is",
            ),
        ],
    )
    def test_a_worker_that_runs_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, configure: Callable[[], None]
    ) -> None:
        monkeypatch.setattr("nsqkit.program.run", lambda main, *_, **__: main.close())
        configure()
        before = _configuration()
        handler = type(asynchronous(_nothing))
        Worker([handler], settings=Settings(nsqd=("127.0.0.1:1",), admin_port=0)).run()
        assert _configuration() == before


def _configuration() -> list[object]:
    root = logging.getLogger()
    return [root.level, *root.handlers, *structlog.get_config().values(), warnings.showwarning]


async def _nothing(_event: Happened, _ctx: Context) -> None:
    return None

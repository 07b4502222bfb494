"""Tables: whole at 80 columns, natural in a pipe, never cut."""

import pytest

from nsqkit.cli import tables
from nsqkit.loading.describe import HandlerRow
from nsqkit.settings.settings import SettingRow
from nsqkit.telemetry.metrics import HandlerSummary

LONG = "AHandlerClassWithAVeryLongNameIndeedThatNoTerminalOfEightyColumnsCanHoldBesidesItsNumbers"


def _summary(
    handler: str = "Reserve", received: int = 2000, seconds: float | None = 0.0012
) -> HandlerSummary:
    return HandlerSummary(
        handler, "orders", "inventory", received, 1813, 126, 0.0633, 187, seconds, seconds, seconds
    )


@pytest.fixture
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    width: str | None = request.param
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", width)
    return width


def _joined(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("columns", ["80", None], indirect=True)
def test_a_long_name_is_folded_or_whole_but_never_cut(
    columns: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.show(tables.summary([_summary(LONG, received=12_345_678)]))
    output = capsys.readouterr().out
    assert "…" not in output
    assert "12,345,678" in output
    if columns:
        assert max(map(len, output.splitlines())) <= 80
        first_column = "".join(
            line[: line.find(" ") if " " in line else None] for line in output.splitlines()[3:]
        )
        assert first_column == LONG
    else:
        assert LONG in output


@pytest.mark.parametrize("columns", ["80", None], indirect=True)
def test_lines_have_no_blanks_at_their_end(columns: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(
        tables.settings([SettingRow("a", "1", "default", "", ""), SettingRow("longer", "-", "x", "", "")])
    )
    assert all(line == line.rstrip() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        pytest.param(None, "-", id="nothing ran"),
        pytest.param(0.000049, "0.05", id="below a millisecond"),
        pytest.param(0.0052, "5.2", id="some milliseconds"),
        pytest.param(0.0523, "52", id="many"),
        pytest.param(61.2, "61,200", id="a minute"),
    ],
)
@pytest.mark.parametrize("columns", ["80"], indirect=True)
def test_durations_are_milliseconds(
    columns: str, capsys: pytest.CaptureFixture[str], seconds: float | None, shown: str
) -> None:
    tables.show(tables.summary([_summary(seconds=seconds)]))
    assert capsys.readouterr().out.splitlines()[-1].split()[-3:] == [shown] * 3


@pytest.mark.parametrize("columns", ["80"], indirect=True)
def test_text_in_brackets_is_text(columns: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(tables.settings([SettingRow("nsqd", "[::1]:4150, [bold]x", "flag", "", "")]))
    assert "[::1]:4150, [bold]x" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["80", None], indirect=True)
def test_a_long_retry_schedule_is_all_there(columns: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    retry = (
        ", ".join(f"{2**n}s" for n in range(30)) + ", then dead letter; UnknownSku: DeadLetter(detail='x')"
    )
    row = HandlerRow(
        handler="Reserve",
        topic="orders",
        channel="inventory",
        events=("order.created.v1", "order.cancelled.v2"),
        kind="async",
        retry=retry,
        timeout_s=None,
        max_in_flight=100,
        on_unknown="dead_letter",
        dead_letters=None,
        location="handlers/orders.py:1",
        rate_limit="5 messages/s",
        middleware=("Tracing", "audit"),
        uses=("session",),
    )
    tables.show(tables.handler(row), tables.handler(row))
    output = capsys.readouterr().out
    first, second = output.split("\n\n")
    assert first.strip() == second.strip()
    assert _joined(retry) in _joined(first)
    assert "timeout         none" in first
    assert "discarded" in first
    assert "rate limit      5 messages/s" in first
    assert "middleware      Tracing, audit" in first
    assert "uses            session" in first
    assert "kill switch" not in first
    assert "…" not in output
    if columns:
        assert max(map(len, output.splitlines())) <= 80


def test_endings_that_are_rare_have_a_column_only_where_there_are_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = HandlerSummary("Plain", "t", "c", 10, 8, 2, 0.2, 0, None, None, None)
    odd = HandlerSummary("Odd", "t", "d", 10, 0, 5, 0.2, 1, None, None, None, given_back=3, lease_lost=4)
    tables.show(tables.summary([plain]))
    assert "back" not in capsys.readouterr().out
    tables.show(tables.summary([plain, odd]))
    output = capsys.readouterr().out
    assert "carded" not in output
    assert output.splitlines()[-1].split() == ["Odd", "10", "0", "2", "20.0%", "1", "3", "4", "-", "-", "-"]

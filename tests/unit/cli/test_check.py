"""`nsqkit check` and `nsqkit handlers`, on a real module of two handlers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit


def test_a_good_module_is_ok(nsqkit: "Nsqkit", handlers: str) -> None:
    result = nsqkit("check", handlers)
    assert (result.code, result.out, result.err) == (0, "ok: 2 handlers, no problems\n", "")


def test_one_handler_is_not_handlers(nsqkit: "Nsqkit", handlers: str) -> None:
    assert nsqkit("check", f"{handlers}:Notify").out == "ok: 1 handler, no problems\n"


def test_every_problem_is_a_line_of_its_own(nsqkit: "Nsqkit") -> None:
    result = nsqkit("check", "no_such_module", "nor_this_one")
    assert (result.code, result.out) == (2, "")
    first, second = result.err.splitlines()
    assert first.startswith("error: no_such_module: ")
    assert second.startswith("error: nor_this_one: ")


def test_a_value_that_a_handler_drops_is_a_problem(nsqkit: "Nsqkit", handlers: str, tmp_path: Path) -> None:
    file = tmp_path / f"{handlers}.py"
    source = file.read_text().replace("ctx: Context) -> None: ...", "ctx: Context): Requeue(3)")
    file.write_text(f"from nsqkit import Requeue\n{source}")
    result = nsqkit("check", handlers)
    assert (result.code, result.out) == (1, "")
    first, second = result.err.splitlines()
    assert first == f"error: {file}:9: Requeue(…) is created and dropped; write return Requeue(…)"
    assert second.startswith(f"error: {file}:11: ")


def test_settings_of_its_own_that_no_module_asks_for_are_named(
    nsqkit: "Nsqkit", handlers: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{handlers}.py"
    file.write_text(f"{file.read_text()}def url(settings): return settings.app_text('carrier_url', '')\n")
    result = nsqkit("check", handlers, "--app", "carrier_url=a", "--app", "carier_url=b", "--app", "zone=c")
    assert (result.code, result.out) == (0, "ok: 2 handlers, no problems\n")
    assert result.err.splitlines() == [
        "warning: app.carier_url (from flag): no module of yours asks for it; did you mean 'carrier_url'?",
        "warning: app.zone (from flag): no module of yours asks for it",
    ]


@pytest.mark.parametrize("command", ["check", "handlers"])
def test_a_command_without_modules_takes_those_of_the_settings(
    nsqkit: "Nsqkit", handlers: str, tmp_path: Path, command: str
) -> None:
    (tmp_path / "nsqkit.toml").write_text(f'[nsqkit]\nmodules = ["{handlers}:Notify"]\n')
    assert nsqkit(command).out == nsqkit(command, f"{handlers}:Notify").out
    assert nsqkit(command, handlers).out != nsqkit(command).out


@pytest.mark.parametrize("command", ["check", "handlers", "run", "status"])
def test_without_any_modules_it_says_how_to_name_them(nsqkit: "Nsqkit", command: str) -> None:
    result = nsqkit(command)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: no modules: name them, as in nsqkit run shop.orders, or set them in nsqkit.toml, below "
        '[nsqkit]: modules = ["shop.orders"]\n'
    )


def test_connect_needs_an_nsqd(nsqkit: "Nsqkit", handlers: str) -> None:
    result = nsqkit("check", handlers, "--connect")
    assert result.code == 2
    assert "--nsqd HOST:4150" in result.err


@pytest.mark.parametrize(
    ("problems", "code"),
    [
        pytest.param((), 0, id="within the limits"),
        pytest.param(("a.py:1: too long", "b"), 1, id="beyond them"),
    ],
)
def test_connect_compares_with_nsqds_limits(
    nsqkit: "Nsqkit", handlers: str, monkeypatch: pytest.MonkeyPatch, problems: tuple[str, ...], code: int
) -> None:
    monkeypatch.setattr("nsqkit.ops.limits.check_limits", lambda *_: problems)
    result = nsqkit("check", handlers, "--connect", "--nsqd", "a:1")
    assert result.code == code
    assert result.err.splitlines() == [f"error: {problem}" for problem in problems]


def test_a_retention_that_is_too_short_is_a_problem(nsqkit: "Nsqkit", handlers: str, tmp_path: Path) -> None:
    file = tmp_path / f"{handlers}.py"
    source = file.read_text().replace("channel='notify'", "channel='notify', once=Database('stock')")
    file.write_text(f"from nsqkit.sql import Database\n{source}")
    result = nsqkit("check", handlers, "--set", "inbox_retention_s=60")
    assert (result.code, result.out) == (1, "")
    assert "Notify: once=… remembers an event for inbox_retention_s=60, but" in result.err
    shown = nsqkit("handlers", f"{handlers}:Notify").out
    assert "once            database stock" in shown
    assert "middleware" not in shown


def test_handlers_are_printed_with_their_effective_configuration(nsqkit: "Nsqkit", handlers: str) -> None:
    result = nsqkit("handlers", handlers)
    assert result.code == 0
    reserve, notify = result.out.split("\n\n")
    lines = [line.split(maxsplit=1) for line in reserve.splitlines()]
    assert lines[0] == ["Reserve", f"{handlers} / inventory"]
    assert lines[1] == ["events", f"{handlers}.made.v1"]
    assert "20 s" in reserve
    assert "7 (async)" in reserve
    assert "then dead letter" in reserve
    assert "threads:" in notify


def test_handlers_as_json(nsqkit: "Nsqkit", handlers: str) -> None:
    reserve, notify = json.loads(nsqkit("handlers", handlers, "--json").out)
    assert (reserve["handler"], reserve["topic"], reserve["channel"]) == ("Reserve", handlers, "inventory")
    assert (reserve["timeout_s"], reserve["max_in_flight"]) == (20.0, 7)
    assert notify["events"] == [f"{handlers}.made.v1"]

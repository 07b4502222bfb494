"""`nsqkit top`: what is printed of the workers, and with which code it ends."""

import asyncio
import json
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console, Group

from nsqkit.cli.top import words
from nsqkit.cli.top.live import Screen
from nsqkit.cli.top.screen import parts
from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.ops.top import Look
from tests.unit.monitor.bench import Shop

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

HERE = "127.0.0.1:9464"
GONE = Look("b:9464", error=NsqkitError("worker b:9464: Connection refused"))
REFUSED = Look("c:9464", error=SettingsError("worker c:9464: send the value of admin_token"))


@cache
def _failing() -> str:
    shop = Shop()
    shop.run(600)
    shop.run(120, failed=4)
    shop.run(1)
    return asyncio.run(shop.monitor.text())


def failing() -> Look:
    screen = json.loads(_failing())
    screen["handlers"][0] |= {"dead": 12, "dead_m1": 1}
    return Look(HERE, screen)


def healthy() -> Look:
    shop = Shop()
    shop.run(120)
    return Look("b:9464", asyncio.run(shop.state()))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Look, ...]]:
    """What the workers answer, one look after the other; without another, Ctrl-C ends it."""
    answers: list[tuple[Look, ...]] = []

    async def look_at(addresses: Sequence[str], token: str) -> tuple[Look, ...]:
        if not answers:
            raise KeyboardInterrupt
        assert token in {"", "s3cret"}
        assert all(":" in each for each in addresses)
        return answers.pop(0)

    monkeypatch.setattr("nsqkit.ops.top.look_at", look_at)
    return answers


def drawn(*looks: Look, width: int = 80, **options: Any) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(Group(*parts(looks, width=width, **options)))
    return [line.rstrip() for line in captured.get().splitlines()]


class TestCommand:
    def test_without_a_terminal_it_prints_once(self, nsqkit: "Nsqkit", answers: list[Any]) -> None:
        answers.append((failing(),))
        result = nsqkit("top")
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith("✖ Failing Charge requeues 39 %")
        assert "\x1b" not in result.out

    def test_a_worker_that_does_not_answer_is_an_error_and_the_others_are_shown(
        self, nsqkit: "Nsqkit", answers: list[Any]
    ) -> None:
        answers.append((failing(), GONE))
        result = nsqkit("top", HERE, "b:9464", "--once")
        assert (result.code, result.err) == (1, "error: worker b:9464: Connection refused\n")
        assert "✖ Failing worker 1: Charge" in result.out

    @pytest.mark.parametrize(
        ("look", "code"), [pytest.param(GONE, 1, id="gone"), pytest.param(REFUSED, 2, id="refused")]
    )
    def test_without_an_answer_there_is_no_screen(
        self,
        nsqkit: "Nsqkit",
        answers: list[Any],
        monkeypatch: pytest.MonkeyPatch,
        look: Look,
        code: int,
    ) -> None:
        monkeypatch.setenv("NSQKIT_ADMIN_TOKEN", "s3cret")
        answers.append((look,))
        result = nsqkit("top")
        assert (result.code, result.out, result.err) == (code, "", f"error: {look.error}\n")

    def test_json_is_a_line_for_each_look(
        self, nsqkit: "Nsqkit", answers: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def no_wait(_: float) -> None: ...

        monkeypatch.setattr("asyncio.sleep", no_wait)
        answers += [(failing(), GONE), (failing(),)]
        result = nsqkit("top", "--json")
        assert result.code == 130
        first, second = map(json.loads, result.out.splitlines())
        worker, gone = first["workers"]
        assert (worker["address"], worker["screen"]["verdict"]["handler"], worker["error"]) == (
            HERE,
            "Charge",
            None,
        )
        assert (gone["screen"], gone["error"]) == (None, "worker b:9464: Connection refused")
        assert len(second["workers"]) == 1

    def test_json_once_has_a_code(self, nsqkit: "Nsqkit", answers: list[Any]) -> None:
        answers.append((GONE,))
        result = nsqkit("top", "--json", "--once")
        assert result.code == 1
        assert len(result.out.splitlines()) == 1


class TestScreen:
    def test_it_says_who_why_since_when_how_much_and_saturation_at_80_columns(self) -> None:
        lines = drawn(failing())
        text = "\n".join(lines)
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith("✖ Failing Charge requeues 39 %")
        table = next(line for line in lines if line.startswith("✖ Charge"))
        assert table.split()[2:5] == ["36%", "39%", "16%"]
        assert table.split()[-2:] == ["3/100", "12"]
        assert re.search(r"Charge          since 14:10; 1 min: \d+ × ConnectionRefusedError at", text)
        assert "dead, 1 min     1 of Charge: nsqkit dead ls --handler Charge" in text
        assert "saturation      no sign; loop lag 0 ms" in text
        assert "marks           14:00:00 worker started" in text

    def test_the_worst_worker_comes_first_and_rows_name_theirs(self) -> None:
        lines = drawn(healthy(), GONE, failing(), failing())
        assert lines[0].startswith("✖ Failing worker 3: Charge")
        assert "          Failing: workers 3, 4 of 4." in lines
        assert "2 b:9464         ▲ Connection refused" in "\n".join(lines)
        rows = [line.split() for line in lines if re.match(r"[✖✔] Charge ", line)]
        assert [row[2] for row in rows] == ["3", "4", "1"]

    def test_no_answer_is_said(self) -> None:
        assert drawn(GONE)[:2] == ["No worker answers.", "b:9464 ▲ Connection refused"]

    def test_a_handler_at_its_limit_is_loud(self) -> None:
        look = healthy()
        look.screen["handlers"][0] |= {"saturated": "100 of 100 in flight", "level": "warn"}  # type: ignore[index]
        text = "\n".join(drawn(look))
        assert "Charge          100 of 100 in flight" in text
        assert "saturation      ▲ Charge at the limit in flight; loop lag 0 ms" in text

    def test_sagas_that_need_attention_are_loud_and_others_are_not_shown(self) -> None:
        look, other = failing(), failing()
        assert look.screen is not None
        assert other.screen is not None
        needs = [{"saga": "Ship", "key": f"o{number}", "status": "needs_attention"} for number in range(4)]
        look.screen["sagas"] = {"attention": 4, "instances": needs}
        other.screen["sagas"] = {
            "attention": 0,
            "instances": [{"saga": "Ship", "key": "o9", "status": "running"}],
        }
        assert "sagas           ▲ 4 need attention: Ship o0, Ship o1, Ship o2" in drawn(look, other)
        assert "sagas" not in "\n".join(drawn(other))

    def test_saturation_and_pauses_are_loud(self) -> None:
        shop = Shop()
        for _ in range(30):
            shop.metrics.event_loop_lag(0.2)
            shop.run(1)
        look = Look(HERE, asyncio.run(shop.state()))
        assert look.screen is not None
        look.screen["handlers"][1] |= {"level": "held", "state": "kill_switch_open", "remaining_s": 30}
        look.screen["nsqd"] = [{"address": "a:4150", "states": {"subscribed": 2}, "depth": 7, "paused": 1}]
        text = "\n".join(drawn(look))
        assert "▲ loop lag ≤ 250 ms, limit 100" in text
        assert "Notify          kill switch open, 30 s left" in text
        assert "‖ Notify" in text
        assert "a:4150  2 subscribed, depth 7, ‖ 1 paused in nsqd" in text

    def test_texts_of_a_worker_cannot_control_the_terminal(self) -> None:
        look = failing()
        assert look.screen is not None
        look.screen["handlers"][0]["name"] = "[red]\x1b[2J"
        look.screen["verdict"]["line"] = "\x1b]0;title\x07"
        text = "\n".join(drawn(look))
        assert "\x1b" not in text
        assert "[red]" in text

    def test_what_has_no_room_is_counted(self) -> None:
        assert "and 1 more; a higher terminal shows them" in drawn(failing(), most=1)

    @pytest.mark.parametrize(
        ("height", "handlers"),
        [
            pytest.param(40, 8, id="all"),
            pytest.param(18, 8, id="without empty lines"),
            pytest.param(13, 3, id="as many as there is room for"),
        ],
    )
    def test_it_fits_the_height(self, height: int, handlers: int) -> None:
        look = healthy()
        assert look.screen is not None
        look.screen["handlers"] *= 4
        look.screen["saturation"] = []  # the memory of this process may need another line
        console = Console(width=80, height=height, force_terminal=False)
        with console.capture() as captured:
            console.print(Screen(console, (look,)).fitted())
        shown = captured.get()
        assert len(shown.splitlines()) <= height
        assert shown.count("✔ Charge") + shown.count("✔ Notify") == handlers
        assert "sort: worst" in shown


class TestWords:
    @pytest.mark.parametrize(
        ("ratio", "shown"),
        [(None, "–"), (0.0, "0%"), (0.004, "0.4%"), (0.0994, "9.9%"), (0.0996, "10%"), (1.0, "100%")],
    )
    def test_percent(self, ratio: float | None, shown: str) -> None:
        assert words.percent(ratio) == shown

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (0.0, "1 ms"),
            (0.25, "250 ms"),
            (2.5, "2.5 s"),
            (90, "90 s"),
            (300, "5 min"),
            (7200, "2 h"),
            (2e5, "2 d"),
        ],
    )
    def test_duration(self, seconds: float, shown: str) -> None:
        assert words.duration(seconds) == shown

    @pytest.mark.parametrize(("seconds", "shown"), [(None, "–"), (-1, ">1d"), (300, "≤5m"), (0.01, "≤10ms")])
    def test_age(self, seconds: float | None, shown: str) -> None:
        assert words.age(seconds) == shown

    def test_bars_are_the_highest_values_of_their_part(self) -> None:
        series = [None, None, 0.0, 0.0, 0.0, 0.2, 0.4, None, None, None]
        assert words.spark(series, 0.4, 5, paused=[9]) == "·▁▅█‖"

    def test_the_scale_is_rounded_up(self) -> None:
        assert words.scale([[None, 0.31], [0.2]]) == 0.4
        assert words.scale([]) == 0.1
        assert math.isclose(words.scale([[1.0]]), 1.0)

    def test_the_reasons_are_of_one_minute(self) -> None:
        row = {"failed": 3, "top": [["A at b.py:1", 3]], "timeouts": 1, "others": 1200}
        assert words.reasons(row) == "3 × A at b.py:1, 1 × timeout, 1,200 given back"
        assert words.reasons(row | {"failed": 0, "timeouts": 0, "others": 0}) == ""

    def test_counts_and_rates(self) -> None:
        assert [words.count(None), words.count(1234), words.rate(9.94), words.rate(1234.5)] == [
            "–",
            "1,234",
            "9.9",
            "1,234",
        ]

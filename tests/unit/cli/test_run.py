"""`nsqkit run`: what is passed on, what is refused, and the table at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from nsqkit.metrics import HandlerSummary
from nsqkit.settings import Settings

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

ROW = HandlerSummary("Reserve", "orders", "inventory", 2000, 1813, 126, 0.063, 187, 0.00005, 0.0012, 1.5)


class _Run:
    """Stands for nsqkit.run.Run."""

    made: ClassVar[list["_Run"]] = []
    code: ClassVar[int] = 0
    left_behind: ClassVar[int] = 0

    def __init__(self, targets: Sequence[str], settings: Settings, **options: Any) -> None:
        self.targets, self.settings, self.options = targets, settings, options
        self.made.append(self)

    def execute(self) -> int:
        return self.code

    def summary(self) -> tuple[HandlerSummary, ...]:
        return (ROW,)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[_Run]:
    monkeypatch.setattr("nsqkit.run.Run", _Run)
    monkeypatch.setattr(_Run, "made", [])
    return _Run


def test_everything_is_passed_on(nsqkit: "Nsqkit", fake: type[_Run]) -> None:
    result = nsqkit(
        *("run", "handlers.orders", "handlers.more"),
        *("--nsqd", "a:1", "--nsqd", "b:2", "--lookupd", "c:3", "--nsqd-http", "d:4"),
        *("--feed", "orders=x.jsonl", "--feed", "more=y=z", "--exit-when-idle", "--admin-port", "0"),
        *(
            "--app",
            "ratio=0.5",
            "--set",
            "threads=3",
            "--log-format",
            "json",
            "--log-level",
            "error",
            "--log-success",
        ),
    )
    assert result.code == 0
    (run,) = fake.made
    assert run.targets == ["handlers.orders", "handlers.more"]
    assert run.options == {
        "dev": False,
        "feeds": (("orders", Path("x.jsonl")), ("more", Path("y=z"))),
        "exit_when_idle": True,
    }
    settings = run.settings
    assert (settings.nsqd, settings.lookupd, settings.nsqd_http) == (("a:1", "b:2"), ("c:3",), ("d:4",))
    assert (settings.admin_port, settings.threads, settings.app["ratio"]) == (0, 3, "0.5")
    assert (settings.log_format, settings.log_level, settings.log_success) == ("json", "error", True)


def test_flags_that_are_not_given_leave_the_environment_alone(
    nsqkit: "Nsqkit", fake: type[_Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSQKIT_LOG_SUCCESS", "true")
    monkeypatch.setenv("NSQKIT_NSQD", "a:1")
    nsqkit("run", "m")
    assert fake.made[0].settings.log_success
    assert fake.made[0].settings.nsqd == ("a:1",)


@pytest.mark.parametrize("code", [0, 1])
def test_the_table_is_printed_and_the_runs_code_returned(
    nsqkit: "Nsqkit", fake: type[_Run], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fake, "code", code)
    result = nsqkit("run", "m", "--dev")
    assert result.code == code
    assert result.out.splitlines()[-1].split() == [
        *("Reserve", "2,000", "1,813", "126", "6.3%", "187", "0.05", "1.2", "1,500"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            [], "choose --dev (embedded broker), --nsqd HOST:4150 or --lookupd HOST:4161", id="no broker"
        ),
        pytest.param(["--dev", "--nsqd", "a:1"], "leave out --nsqd", id="two brokers"),
        pytest.param(
            ["--dev", "--feed", "orders"], "--feed 'orders': give it as TOPIC=FILE", id="a feed of nothing"
        ),
        pytest.param(["--nsqd", "a"], "nsqd=['a'] has address 'a': give host:port", id="a bad address"),
    ],
)
def test_wrong_use(nsqkit: "Nsqkit", fake: type[_Run], arguments: list[str], words: str) -> None:
    result = nsqkit("run", "m", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert fake.made == []

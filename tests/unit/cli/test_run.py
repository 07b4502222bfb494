"""`nsqkit run`: what is passed on, what is refused, and the table at the end."""

import pickle
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from nsqkit.process.child import Plan
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.metrics import HandlerSummary

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

ROW = HandlerSummary("Reserve", "orders", "inventory", 2000, 1813, 126, 0.063, 187, 0.00005, 0.0012, 1.5)


class _Run:
    """Stands for nsqkit.process.run.Run."""

    made: ClassVar[list["_Run"]] = []
    code: ClassVar[int] = 0
    left_behind: ClassVar[int] = 0

    def __init__(self, targets: Sequence[str], settings: Settings, **options: Any) -> None:
        self.targets, self.settings, self.options = targets, settings, options
        self.made.append(self)

    def execute(self, _: object) -> int:
        return self.code

    def summary(self) -> tuple[HandlerSummary, ...]:
        return (ROW,)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[_Run]:
    monkeypatch.setattr("nsqkit.process.run.Run", _Run)
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
        pytest.param(["--dev", "--reload", "--exit-when-idle"], "leave out --exit-when-idle", id="two ends"),
        pytest.param(["--dev", "--reload", "--workers", "2"], "leave out --workers", id="two parents"),
        pytest.param(["--dev", "--workers", "0"], "greater than or equal to 1", id="no worker"),
        pytest.param(["--dev", "--watch", "."], "--watch goes with --reload", id="watching for nothing"),
        pytest.param(["--dev", "--reload", "--watch", "gone"], "'gone' does not exist", id="no such folder"),
    ],
)
def test_wrong_use(nsqkit: "Nsqkit", fake: type[_Run], arguments: list[str], words: str) -> None:
    result = nsqkit("run", "m", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert fake.made == []


class _Reload:
    """Stands for nsqkit.process.reload.Reload."""

    made: ClassVar[list["_Reload"]] = []

    def __init__(self, plan: Plan, **options: Any) -> None:
        self.plan, self.options = plan, options
        self.made.append(self)

    def execute(self) -> int:
        return 1


class TestReload:
    """`nsqkit run --reload`: another process runs, this one looks after it."""

    @pytest.fixture
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Path]]:
        watched: list[Sequence[Path]] = []
        monkeypatch.setattr("nsqkit.process.reload.watch", watched.append)
        monkeypatch.setattr("nsqkit.process.reload.Reload", _Reload)
        monkeypatch.setattr(_Reload, "made", [])
        return watched

    def test_everything_is_passed_on_and_its_code_returned(
        self, nsqkit: "Nsqkit", watched: list[Sequence[Path]], tmp_path: Path
    ) -> None:
        (tmp_path / "shop").mkdir()
        arguments = ("--dev", "--feed", "t=x.jsonl", "--watch", "shop", "--set", "threads=3", "--debug")
        assert nsqkit("run", "shop.parcels", "--reload", *arguments).code == 1
        (made,) = _Reload.made
        assert made.plan.targets == ("shop.parcels",)
        assert made.plan.settings.threads == 3
        assert made.options["command"][1:] == ["-m", "nsqkit", "reloaded", "--debug"]
        assert (made.options["dev"], made.options["feeds"]) == (True, (("t", Path("x.jsonl")),))
        assert watched == [[Path("shop")]]

    def test_the_working_directory_is_watched_unless_told_otherwise(
        self, nsqkit: "Nsqkit", watched: list[Sequence[Path]], tmp_path: Path
    ) -> None:
        nsqkit("run", "m", "--reload", "--nsqd", "a:1")
        assert watched == [[tmp_path]]
        assert _Reload.made[0].options["command"][-1] == "reloaded"


class TestReloaded:
    """`nsqkit reloaded`: the process that runs."""

    def link(self, plan: Plan, *told: bytes) -> tuple[socket.socket, str]:
        ours, theirs = socket.socketpair()
        pickled = pickle.dumps(plan)
        ours.sendall(b"".join((len(pickled).to_bytes(4, "big"), pickled, *told)))
        return ours, str(theirs.detach())

    def test_it_says_what_it_subscribes_to_and_runs_when_it_is_told_to(
        self, nsqkit: "Nsqkit", fake: type[_Run], handlers: str
    ) -> None:
        ours, descriptor = self.link(Plan((f"{handlers}:Notify",), Settings(threads=3)), b"g")
        with ours, pytest.MonkeyPatch.context() as patch:
            patch.setattr("nsqkit.process.child.ParentLink._end_with_parent", lambda *_: None)
            result = nsqkit("reloaded", descriptor)
            told = ours.makefile().readline()
        assert result.code == 0
        assert result.out.splitlines()[-1].startswith("Reserve")
        assert told == f'[["{handlers}", "notify"], ["{handlers}.notify.retry", "notify"]]\n'
        assert (fake.made[0].targets, fake.made[0].settings.threads) == ((f"{handlers}:Notify",), 3)

    def test_one_that_is_not_wanted_any_more_does_not_run(
        self, nsqkit: "Nsqkit", fake: type[_Run], handlers: str
    ) -> None:
        ours, descriptor = self.link(Plan((handlers,), Settings()))
        ours.shutdown(socket.SHUT_WR)
        with ours:
            assert nsqkit("reloaded", descriptor).code == 0
        assert fake.made == []

    def test_what_does_not_load_is_told_and_is_2(self, nsqkit: "Nsqkit", fake: type[_Run]) -> None:
        ours, descriptor = self.link(Plan(("no_such_module",), Settings()))
        with ours:
            result = nsqkit("reloaded", descriptor)
        assert result.code == 2
        assert "there is no module 'no_such_module'" in result.err

    def test_it_is_not_in_the_help(self, nsqkit: "Nsqkit") -> None:
        assert "reloaded" not in nsqkit("--help").out


class _Supervisor:
    """Stands for nsqkit.process.supervisor.Supervisor."""

    made: ClassVar[list["_Supervisor"]] = []

    def __init__(self, plan: Plan, count: int, **options: Any) -> None:
        self.plan, self.count, self.options = plan, count, options
        self.made.append(self)

    def execute(self, _: object) -> int:
        return 137

    def summary(self) -> tuple[HandlerSummary, ...]:
        return (ROW,)


class TestWorkers:
    """`nsqkit run --workers`: other processes run, this one keeps them running."""

    @pytest.fixture(autouse=True)
    def _fake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nsqkit.process.supervisor.Supervisor", _Supervisor)
        monkeypatch.setattr(_Supervisor, "made", [])

    def test_everything_is_passed_on_and_one_table_is_printed(self, nsqkit: "Nsqkit") -> None:
        arguments = ("--dev", "--feed", "t=x.jsonl", "--exit-when-idle", "--set", "threads=3", "--debug")
        result = nsqkit("run", "shop.parcels", "--workers", "3", *arguments)
        assert result.code == 137
        assert result.out.splitlines()[-1].startswith("Reserve")
        (made,) = _Supervisor.made
        assert (made.plan.targets, made.plan.settings.threads, made.count) == (("shop.parcels",), 3, 3)
        assert made.options["command"][1:] == ["-m", "nsqkit", "child", "--debug"]
        assert made.options["feeds"] == (("t", Path("x.jsonl")),)
        assert (made.options["dev"], made.options["exit_when_idle"]) == (True, True)


class TestChild:
    """`nsqkit child`: one of the processes that run."""

    @pytest.fixture(autouse=True)
    def fields(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
        """The fields that all of its log lines have."""
        fields: dict[str, object] = {}
        monkeypatch.setattr("nsqkit.telemetry.logs.add_to_every_line", fields.update)
        monkeypatch.setattr("nsqkit.process.child_run.leave_signals_to_parent", lambda: None)
        return fields

    def link(self, plan: Plan, *told: bytes) -> tuple[socket.socket, str]:
        ours, theirs = socket.socketpair()
        pickled = pickle.dumps(plan)
        ours.sendall(b"".join((len(pickled).to_bytes(4, "big"), pickled, *told)))
        return ours, str(theirs.detach())

    @pytest.mark.parametrize("left_behind", [0, 2])
    def test_it_says_what_it_subscribes_to_and_runs_without_a_table(
        self,
        nsqkit: "Nsqkit",
        handlers: str,
        monkeypatch: pytest.MonkeyPatch,
        fields: dict[str, object],
        left_behind: int,
    ) -> None:
        ended: list[int] = []
        monkeypatch.setattr("nsqkit.process.child.ParentLink._end_with_parent", lambda *_: None)
        monkeypatch.setattr("nsqkit.process.child_run.ChildRun.run", lambda _: 1)
        monkeypatch.setattr("nsqkit.process.child_run.ChildRun.left_behind", left_behind)
        monkeypatch.setattr("nsqkit.cli.ending.end_at_once", ended.append)
        with tempfile.TemporaryFile() as counts:
            plan = Plan((f"{handlers}:Notify",), Settings(), 2, counts.fileno())
            ours, descriptor = self.link(plan, b"g")
            with ours:
                result = nsqkit("child", descriptor)
                told = ours.makefile().readline()
        assert (result.code, result.out) == (1, "")
        assert fields == {"worker": 2}
        assert told == f'[["{handlers}", "notify"], ["{handlers}.notify.retry", "notify"]]\n'
        assert ended == ([1] if left_behind else []), "threads that never end would keep it alive"

    def test_one_that_is_not_wanted_any_more_does_not_run(self, nsqkit: "Nsqkit", handlers: str) -> None:
        ours, descriptor = self.link(Plan((handlers,), Settings()))
        ours.shutdown(socket.SHUT_WR)
        with ours:
            assert nsqkit("child", descriptor).code == 0

    def test_it_is_not_in_the_help(self, nsqkit: "Nsqkit") -> None:
        assert "child " not in nsqkit("--help").out

"""Loader: what a target names is found, and all that is wrong with it is told at once, with file and line."""

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsqkit.errors import LoadError
from nsqkit.handler.handler import HandlerSpec
from nsqkit.loading.loader import HandlerRow, load, table
from nsqkit.settings.settings import Settings

NUMBERS = itertools.count(1)
PRELUDE = """\
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from nsqkit import (
    Context, DeadLetter, Exponential, Handler, KillSwitch, Pause, RateLimit, Requeue, RetryPolicy, Settings,
    event, resource,
)


@event("TEAM.created", version=1, topic="TEAM")
@dataclass
class Created:
    order_id: str


class Warehouse: ...


class ColdWarehouse(Warehouse): ...


"""
NOTIFY = """\
class Notify(Handler[Created], channel="notify"):
    async def handle(self, event: Created, ctx: Context) -> None: ...


"""
CHARGE = """\
class Charge(Handler[Created], channel="charge"):
    def handle(self, event: Created, ctx: Context) -> None: ...


"""


class Team:
    """A team's folder of modules; TEAM in their text is a name that no other test has.

    The registry of events is that of the process, so names and topics must not meet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"team_{next(NUMBERS)}"

    def write(self, text: str, path: str = "TEAM.py", *, prelude: bool = True) -> Path:
        file = self.folder / path.replace("TEAM", self.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((PRELUDE * prelude + text).replace("TEAM", self.name), encoding="utf-8")
        return file

    def load(self, *targets: str, **settings: Any) -> tuple[HandlerSpec, ...]:
        named = [target.replace("TEAM", self.name) for target in targets or ("TEAM",)]
        return load(named, Settings(**settings)).handlers

    def problems(self, *targets: str, **settings: Any) -> list[str]:
        """What is wrong, the team's name written TEAM again; the same each time that it is asked."""
        told = []
        for _ in range(2):
            with pytest.raises(LoadError) as caught:
                self.load(*targets, **settings)
            told.append([problem.replace(self.name, "TEAM") for problem in caught.value.problems])
        assert told[0] == told[1], "a second load in the same process tells something else"
        return told[0]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = {*sys.modules}
    yield Team(tmp_path)
    for name in {*sys.modules} - before:
        del sys.modules[name]


def _at(file: Path, text: str) -> str:
    """Return ``file:line`` of the first line with a text; TEAM for the team's own name."""
    lines = file.read_text(encoding="utf-8").splitlines()
    number = next(number for number, line in enumerate(lines, 1) if text in line)
    return f"{file.parent}{os.sep}TEAM.py:{number}" if file.stem.startswith("team_") else f"{file}:{number}"


# What is found


def test_a_module_has_its_handlers_in_order(team: Team) -> None:
    file = team.write(NOTIFY + CHARGE)
    notify, charge = team.load()
    assert (notify.name, charge.name) == ("Notify", "Charge")
    assert (notify.topic, notify.channel) == (team.name, "notify")
    assert notify.location.replace(team.name, "TEAM") == _at(file, "class Notify")


def test_a_package_has_the_handlers_of_all_its_modules(team: Team) -> None:
    team.write("", "TEAM/__init__.py", prelude=False)
    team.write(NOTIFY, "TEAM/orders.py")
    team.write("", "TEAM/inner/__init__.py", prelude=False)
    team.write("from TEAM.orders import *\n" + CHARGE, "TEAM/inner/payments.py", prelude=False)
    assert [spec.name for spec in team.load()] == ["Charge", "Notify"]
    assert [spec.name for spec in team.load("TEAM.inner")] == ["Charge"]


def test_a_handler_counts_where_it_is_defined_and_not_where_it_is_imported(team: Team) -> None:
    team.write(NOTIFY, "TEAM_orders.py")
    team.write("from TEAM_orders import *\n" + CHARGE, prelude=False)
    assert [spec.name for spec in team.load()] == ["Charge"]


def test_a_handler_with_two_names_is_one_handler(team: Team) -> None:
    team.write(NOTIFY + "Alias = Notify\n")
    assert [spec.name for spec in team.load()] == ["Notify"]


def test_an_abstract_class_is_no_handler(team: Team) -> None:
    team.write("class Team(Handler[Created], abstract=True, max_in_flight=3): ...\n" + NOTIFY)
    assert [spec.name for spec in team.load()] == ["Notify"]


def test_one_class_of_a_module_can_be_chosen(team: Team) -> None:
    team.write(NOTIFY + CHARGE)
    assert [spec.name for spec in team.load("TEAM:Charge")] == ["Charge"]


def test_what_is_named_twice_is_loaded_once(team: Team) -> None:
    team.write(NOTIFY + CHARGE)
    assert [spec.name for spec in team.load("TEAM:Charge", "TEAM", "TEAM")] == ["Charge", "Notify"]


def test_a_mistake_in_a_class_that_is_not_chosen_does_not_matter(team: Team) -> None:
    team.write(NOTIFY + CHARGE.replace('channel="charge"', "max_in_flight=0"))
    assert [spec.name for spec in team.load("TEAM:Notify")] == ["Notify"]


def test_the_working_directory_comes_first_and_once(team: Team) -> None:
    team.write(NOTIFY)
    team.load()
    team.load()
    assert sys.path[0] == str(team.folder)
    assert sys.path.count(str(team.folder)) == 1


def test_resources_may_come_from_another_target(team: Team) -> None:
    team.write("class Warehouse: ...\n", "TEAM_warehouse.py", prelude=False)
    own = "from TEAM_warehouse import Warehouse\n"
    imports = "from collections.abc import Iterator\nfrom nsqkit import resource\n"
    team.write(imports + own + _yields("warehouse", "Warehouse"), "TEAM_resources.py", prelude=False)
    team.write(own + NEEDY.replace("PARAMETER", "warehouse: Warehouse"))
    assert [spec.name for spec in team.load("TEAM_resources", "TEAM")] == ["Notify"]


def test_resources_come_from_the_modules_that_define_or_import_them(team: Team) -> None:
    team.write(
        "@resource\ndef warehouse(settings: Settings) -> Iterator[Warehouse]:\n    yield Warehouse()\n",
        "TEAM_resources.py",
    )
    needy = NOTIFY.replace(
        "    async def",
        "    def __init__(self, warehouse: Warehouse, settings: Settings) -> None: ...\n    async def",
    )
    team.write("from TEAM_resources import *\n" + needy, prelude=False)
    loaded = load([team.name], Settings())
    assert [each.name for each in loaded.resources] == ["warehouse"]
    assert [spec.name for spec in loaded.handlers] == ["Notify"]


MIDDLEWARE = """\
class Shout:
    async def __call__(self, event, ctx, call_next):
        return await call_next(event, ctx)

async def whisper(event, ctx, call_next):
    return await call_next(event, ctx)

class Needy:
    def __init__(self, volume):
        self.volume = volume

class Silent:
    pass
"""


def test_middleware_is_made_in_the_order_of_the_setting(team: Team) -> None:
    team.write(NOTIFY)
    team.write(MIDDLEWARE, "TEAM_middleware.py", prelude=False)
    names = tuple(f"{team.name}_middleware:{name}" for name in ("whisper", "Shout"))
    whisper, shout = load([team.name], Settings(middleware=names)).middleware
    assert getattr(whisper, "__name__", "") == "whisper"
    assert type(shout).__name__ == "Shout"


# What is wrong


def test_all_problems_of_all_handlers_are_told_at_once(team: Team) -> None:
    file = team.write(
        """\
@event("TEAM.homeless", version=1)
@dataclass
class Homeless: ...


class Misspelt(Handler[Created], chanel="notify"):
    async def handle(self, event: Created, ctx: Context) -> None: ...


class Topicless(Handler[Homeless], channel="topicless"):
    async def handle(self, event: Homeless, ctx: Context) -> None: ...


class BadTopic(Handler[Created], topic="or ders", channel="bad"):
    async def handle(self, event: Created, ctx: Context) -> None: ...


class BadPolicy(Handler[Created], channel="policy", retry=8):
    async def handle(self, event: Created, ctx: Context) -> None: ...


class Handleless(Handler[Created], channel="handleless"):
    pass


"""
        + NOTIFY
        + NOTIFY.replace("Notify", "Again"),
    )
    assert team.problems() == [
        f"{_at(file, 'class Misspelt')}: Misspelt: unknown class keyword 'chanel'; did you mean 'channel'?",
        f'{_at(file, "class Misspelt")}: Misspelt: has no channel; add channel="…" to the class keywords',
        (
            f'{_at(file, "class Topicless")}: Topicless: has no topic; add topic="…" to the class keywords '
            "or to @event(…)"
        ),
        (
            f"{_at(file, 'class BadTopic')}: BadTopic: topic name 'or ders' has characters outside "
            "A-Z a-z 0-9 . _ - (and a final #ephemeral)"
        ),
        (
            f"{_at(file, 'class BadPolicy')}: BadPolicy: retry=8 is not a policy; "
            "write retry=RetryPolicy(max_attempts=…, backoff=…)"
        ),
        (
            f"{_at(file, 'class Handleless')}: Handleless: has no handle method; "
            "write async def handle(self, event, ctx)"
        ),
        (
            f"{_at(file, 'class Again')}: Notify and Again have the same topic 'TEAM' and channel 'notify'; "
            "give each its own channel, or make one handler of a union of events"
        ),
    ]


def test_three_handlers_on_one_subscription_are_one_problem(team: Team) -> None:
    file = team.write(NOTIFY + NOTIFY.replace("Notify", "Again") + NOTIFY.replace("Notify", "Third"))
    (told,) = team.problems()
    assert told.startswith(f"{_at(file, 'class Third')}: Notify and Again and Third have the same topic")


def test_the_problems_of_all_targets_are_told_at_once(team: Team) -> None:
    first = team.write(CHARGE.replace('channel="charge"', "max_in_flight=0, channel='a'"))
    problems = team.problems("TEAM", "TEAM_missing", "TEAM:Chrage")
    assert problems == [
        f"{_at(first, 'class Charge')}: Charge: max_in_flight=0 is not in 1..2500",
        (
            f"TEAM_missing: there is no module 'TEAM_missing'; did you mean 'TEAM'?; "
            f"it is looked for in the working directory {team.folder}"
        ),
        "TEAM:Chrage: no handler class 'Chrage' is defined there; did you mean 'Charge'?",
    ]


def test_what_was_wrong_before_a_module_failed_is_told_too(team: Team) -> None:
    file = team.write(CHARGE.replace(', channel="charge"', "") + "retry = RetryPolicy(0)\n" + NOTIFY)
    assert team.problems() == [
        f'{_at(file, "class Charge")}: Charge: has no channel; add channel="…" to the class keywords',
        f"{_at(file, 'retry =')}: ValueError: RetryPolicy(max_attempts=0): not in 1..65525",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param(
            "retry = RetryPolicy(max_attempts='8')",
            "TypeError: RetryPolicy(max_attempts='8'): give a whole number",
            id="a wrong type in a policy",
        ),
        pytest.param(
            "backoff = Exponential(base_s=-1)",
            "ValueError: Exponential(base_s=-1): must be above 0",
            id="a wrong value in a backoff",
        ),
        pytest.param(
            "outcome = Requeue('soon')",
            "ValueError: Requeue(delay_s='soon'): give seconds, 0 or more",
            id="a wrong type in an outcome",
        ),
        pytest.param(
            "event('TEAM.other', version=0)(Created)",
            "TEAM.Created: version=0 must be a whole number from 1",
            id="a wrong event",
        ),
        pytest.param(
            "resource(Warehouse)",
            "TypeError: <class 'TEAM.Warehouse'> cannot be a resource: @resource is for a generator function",
            id="a class as resource",
        ),
        pytest.param(
            "import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'", id="an import"
        ),
        pytest.param(
            "from nsqkit import Handlr", "ImportError: cannot import name 'Handlr' from 'nsqkit'", id="a name"
        ),
        pytest.param(
            "import TEAM.inner", "ModuleNotFoundError: No module named 'TEAM.inner'", id="part of itself"
        ),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="an exit"),
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="anything else"),
    ],
)
def test_what_a_module_raises_is_told_with_its_line(team: Team, line: str, problem: str) -> None:
    file = team.write(f"{NOTIFY}{line}  # here\n")
    (told,) = team.problems()
    assert told.startswith(f"{_at(file, '# here')}: {problem}")


def test_a_mistake_that_a_library_finds_is_told_with_the_teams_own_line(team: Team) -> None:
    file = team.write("@dataclass  # here\nclass Order:\n    lines: list = []\n")
    (told,) = team.problems()
    assert told.startswith(
        f"{_at(file, '# here')}: ValueError: mutable default <class 'list'> for field lines"
    )


def test_a_resource_that_is_none_is_told_with_its_line(team: Team) -> None:
    file = team.write("@resource  # here\ndef warehouse() -> Warehouse:\n    return Warehouse()\n")
    assert team.problems() == [
        f"{_at(file, '# here')}: resource warehouse: must be a generator function; yield the resource once"
    ]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        pytest.param("x = (1,\n\ny = 2\n", 1, "SyntaxError: '(' was never closed", id="an open bracket"),
        pytest.param("x = 1\n  y = 2\n", 2, "IndentationError: unexpected indent", id="an indent"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(team: Team, text: str, line: int, problem: str) -> None:
    team.write(text, prelude=False)
    assert team.problems() == [f"{team.folder / 'TEAM.py'}:{line}: {problem}"]


def test_a_mistake_in_a_module_that_is_imported_is_told_where_it_is(team: Team) -> None:
    shared = team.write("retry = RetryPolicy(0)\n", "TEAM_shared.py")
    team.write("import TEAM_shared\n" + NOTIFY)
    (told,) = team.problems()
    assert told.startswith(f"{shared}:".replace(team.name, "TEAM"))


def test_a_broken_module_of_a_package_does_not_hide_the_others(team: Team) -> None:
    team.write("", "TEAM/__init__.py", prelude=False)
    team.write("1 / 0\n", "TEAM/first/__init__.py", prelude=False)
    team.write(NOTIFY, "TEAM/first/orders.py")
    team.write("raise SystemExit\n", "TEAM/last/__init__.py", prelude=False)
    team.write(CHARGE.replace(', channel="charge"', ""), "TEAM/middle.py")
    assert [problem.partition(": ")[2] for problem in team.problems()] == [
        "ZeroDivisionError: division by zero",
        "SystemExit: ",
        'Charge: has no channel; add channel="…" to the class keywords',
    ]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        pytest.param(
            "TEAM_orderz",
            "there is no module 'TEAM_orderz'; did you mean 'TEAM_orders'?; it is looked for in the working "
            "directory CWD",
            id="a misspelt module",
        ),
        pytest.param(
            "TEAM_pack.inner.ordrs",
            "there is no module 'TEAM_pack.inner.ordrs'; did you mean 'TEAM_pack.inner.orders'?; "
            "it is looked for in the "
            "working directory CWD",
            id="a misspelt module of a package",
        ),
        pytest.param(
            "TEAM_pakc.inner.orders",
            "there is no module 'TEAM_pakc'; did you mean 'TEAM_pack'?; it is looked for in the working "
            "directory CWD",
            id="a misspelt package",
        ),
        pytest.param(
            "TEAM_orders.inner",
            "there is no module 'TEAM_orders.inner'; it is looked for in the working directory CWD",
            id="a module that is no package",
        ),
        pytest.param(
            "TEAM_pack/inner/orders.py",
            "give a dotted module, not a file; did you mean 'TEAM_pack.inner.orders'?",
            id="a file",
        ),
        pytest.param(
            "./TEAM_pack/inner/orders.py",
            "give a dotted module, not a file; did you mean 'TEAM_pack.inner.orders'?",
            id="a file from here",
        ),
        pytest.param(
            "CWD/TEAM_orders.py",
            "give a dotted module, not a file; did you mean 'TEAM_orders'?",
            id="a file from the root",
        ),
        pytest.param(
            "TEAM_orders.py",
            "give a dotted module, not a file; did you mean 'TEAM_orders'?",
            id="a file without a folder",
        ),
        pytest.param(
            "TEAM_pack/inner/orders",
            "give a dotted module, not a file; did you mean 'TEAM_pack.inner.orders'?",
            id="a file without its ending",
        ),
        pytest.param(
            ".TEAM_orders",
            "give a dotted module, not a file; did you mean 'TEAM_orders'?",
            id="a relative module",
        ),
        pytest.param(
            "TEAM_orderz:Notify",
            "there is no module 'TEAM_orderz'; did you mean 'TEAM_orders'?; it is looked for in the working "
            "directory CWD",
            id="a class of a misspelt module",
        ),
        pytest.param("", "ValueError: Empty module name", id="nothing"),
    ],
)
def test_a_module_that_does_not_exist_is_told_with_the_closest(team: Team, target: str, problem: str) -> None:
    team.write(NOTIFY, "TEAM_orders.py")
    team.write("", "TEAM_pack/__init__.py", prelude=False)
    team.write("", "TEAM_pack/inner/__init__.py", prelude=False)
    team.write(NOTIFY, "TEAM_pack/inner/orders.py")
    (told,) = team.problems(target.replace("CWD", str(team.folder)))
    assert told == f"{target.partition(':')[0]}: {problem}".replace("CWD", str(team.folder))


def test_a_sibling_that_does_not_exist_is_told_with_the_line_that_imports_it(team: Team) -> None:
    """Also where its name begins like that of the module that was asked for."""
    team.write("", "TEAM/__init__.py", prelude=False)
    team.write("import TEAM.order  # here\n", "TEAM/orders.py", prelude=False)
    (told,) = team.problems("TEAM.orders")
    assert told == (
        f"{team.folder / 'TEAM' / 'orders.py'}:1: ModuleNotFoundError: No module named 'TEAM.order'"
    )


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        pytest.param(
            "TEAM:Notfy", "no handler class 'Notfy' is defined there; did you mean 'Notify'?", id="misspelt"
        ),
        pytest.param("TEAM:Refund", "no handler class 'Refund' is defined there", id="somewhere else"),
        pytest.param("TEAM:Created", "no handler class 'Created' is defined there", id="no handler"),
        pytest.param("TEAM:Team", "no handler class is defined there", id="an abstract one"),
    ],
)
def test_a_class_that_does_not_exist_is_told_with_the_closest(team: Team, target: str, problem: str) -> None:
    team.write("class Team(Handler[Created], abstract=True): ...\n" + NOTIFY)
    assert team.problems(target) == [f"{target}: {problem}"]


def test_a_module_without_handlers_is_told(team: Team) -> None:
    team.write("")
    team.write("", "TEAM_too.py", prelude=False)
    assert team.problems("TEAM", "TEAM_too") == ["TEAM, TEAM_too: no handler class is defined there"]


TWO_EVENTS = """\
@event("TEAM.cancelled", version=1, topic="TEAM")
@dataclass
class Cancelled: ...


"""


def test_what_becomes_of_other_events_of_the_topic_must_be_chosen(team: Team) -> None:
    file = team.write(TWO_EVENTS + NOTIFY)
    assert team.problems() == [
        (
            f"{_at(file, 'class Notify')}: Notify: topic 'TEAM' also has TEAM.cancelled.v1; choose "
            'on_unknown="discard", "requeue" or "dead_letter"'
        )
    ]


def test_all_other_events_of_the_topic_are_named(team: Team) -> None:
    team.write(TWO_EVENTS + TWO_EVENTS.replace("cancelled", "paid").replace("Cancelled", "Paid") + NOTIFY)
    (told,) = team.problems()
    assert "also has TEAM.cancelled.v1, TEAM.paid.v1; choose" in told


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(('"notify"', '"notify", on_unknown="discard"'), id="it is chosen"),
        pytest.param(("[Created]", "[Created | Cancelled]"), id="they are all taken"),
        pytest.param(("Created]", "Created], topic='TEAM_own'"), id="the topic is another"),
    ],
)
def test_nothing_is_to_be_chosen_where(team: Team, change: tuple[str, str]) -> None:
    team.write(TWO_EVENTS + NOTIFY.replace(*change))
    assert [spec.name for spec in team.load()] == ["Notify"]


def test_another_version_of_an_event_that_is_taken_is_no_other_event(team: Team) -> None:
    team.write(TWO_EVENTS.replace("cancelled", "created").replace("version=1", "version=2") + NOTIFY)
    assert [spec.name for spec in team.load()] == ["Notify"]


@pytest.mark.parametrize(
    ("policy", "longest", "setting"),
    [
        pytest.param("RetryPolicy(20)", "900", 600, id="a backoff above the setting"),
        pytest.param("RetryPolicy(3, on={OSError: Requeue(1200)})", "1200", 900, id="a requeue of a rule"),
        pytest.param("RetryPolicy(3, on={OSError: Pause(901)})", "901", 900, id="a pause of a rule"),
        pytest.param(
            "RetryPolicy(3, Exponential(1000, 2, 3600))", "2000", 900, id="the default of 15 minutes"
        ),
    ],
)
def test_a_policy_may_not_wait_longer_than_the_setting(
    team: Team, policy: str, longest: str, setting: float
) -> None:
    file = team.write(NOTIFY.replace('"notify"', f'"notify", retry={policy}'))
    assert team.problems(max_requeue_delay_s=setting) == [
        (
            f"{_at(file, 'class Notify')}: Notify: its retry policy waits up to {longest} s, more than the "
            f"setting max_requeue_delay_s={setting}; lower max_s of its backoff, or the delay of its rule"
        )
    ]


def test_a_policy_may_wait_longer_where_the_setting_allows_it(team: Team) -> None:
    team.write(NOTIFY.replace('"notify"', '"notify", retry=RetryPolicy(20, Exponential(1, 2, 3600))'))
    assert team.load(max_requeue_delay_s=3600)[0].retry.longest_s() == 3600


def test_a_policy_is_measured_by_what_it_reaches(team: Team) -> None:
    """Eight attempts wait 64 s at most, whatever the ceiling."""
    team.write(NOTIFY)
    assert team.load(max_requeue_delay_s=64)[0].retry.longest_s() == 64


NEEDY = NOTIFY.replace("    async def", "    def __init__(self, PARAMETER) -> None: ...\n    async def")
YIELDS = """\
@resource
def NAME(PARAMETER) -> Iterator[TYPE]:
    yield TYPE()


"""


@pytest.mark.parametrize(
    ("keywords", "expected", "kind"),
    [
        pytest.param("", 100, "batch:100/1s", id="by default"),
        pytest.param("max_messages=500, max_wait_s=0.5", 500, "batch:500/0.5s", id="as declared"),
        pytest.param("max_in_flight=300, threads=2", 300, "batch:100/1s", id="a thread runs a whole batch"),
    ],
)
def test_of_a_batch_handler_threads_do_not_bound_what_is_in_flight(
    team: Team, keywords: str, expected: int, kind: str
) -> None:
    team.write(
        "from nsqkit import BatchHandler\n\n\n"
        f"class Totals(BatchHandler[Created], channel='totals', {keywords}):\n"
        "    def handle(self, batch: object) -> None: ...\n"
    )
    (row,) = table(team.load(), Settings(threads=4))
    assert (row.max_in_flight, row.kind) == (expected, kind)


def _yields(name: str, kind: str, parameter: str = "") -> str:
    return YIELDS.replace("NAME", name).replace("TYPE", kind).replace("PARAMETER", parameter)


@pytest.mark.parametrize(
    ("resources", "parameter", "problem"),
    [
        pytest.param(
            "",
            "warehouse: Warehouse",
            "no single resource yields Warehouse for parameter 'warehouse'; "
            "define a @resource with that type, or import it into the module",
            id="there is none",
        ),
        pytest.param(
            _yields("one", "Warehouse") + _yields("other", "Warehouse"),
            "warehouse: Warehouse",
            "no single resource yields Warehouse for parameter 'warehouse'; "
            "define a @resource with that type, or import it into the module",
            id="there are two",
        ),
        pytest.param(
            "",
            "warehouse: list[Warehouse]",
            "no single resource yields list[TEAM.Warehouse] for parameter 'warehouse'; "
            "define a @resource with that type, or import it into the module",
            id="there is none of a generic type",
        ),
        pytest.param(
            "",
            "warehouse",
            "parameter 'warehouse' has no type; annotate it with what a resource yields",
            id="it has no type",
        ),
        pytest.param(
            "",
            "warehouse: 'Nowhere'",
            "its annotations cannot be read: name 'Nowhere' is not defined",
            id="its type does not exist",
        ),
    ],
)
def test_a_resource_that_is_not_there_is_told(
    team: Team, resources: str, parameter: str, problem: str
) -> None:
    file = team.write(resources + NEEDY.replace("PARAMETER", parameter))
    assert team.problems() == [f"{_at(file, 'class Notify')}: Notify: {problem}"]


@pytest.mark.parametrize(
    ("resources", "parameter"),
    [
        pytest.param("", "settings: Settings", id="the settings are always there"),
        pytest.param(_yields("any", "Warehouse"), "warehouse: Warehouse", id="by its type"),
        pytest.param(_yields("any", "ColdWarehouse"), "warehouse: Warehouse", id="by a kind of its type"),
        pytest.param(
            _yields("warehouse", "Warehouse") + _yields("other", "Warehouse"),
            "warehouse: Warehouse",
            id="by its name among several",
        ),
        pytest.param(
            _yields("warehouse", "Warehouse", "settings: Settings"),
            "warehouse: Warehouse",
            id="that needs settings",
        ),
    ],
)
def test_a_resource_is_found(team: Team, resources: str, parameter: str) -> None:
    team.write(resources + NEEDY.replace("PARAMETER", parameter))
    assert [spec.name for spec in team.load()] == ["Notify"]


def test_a_resource_that_another_one_needs_must_be_there_too(team: Team) -> None:
    file = team.write(_yields("warehouse", "Warehouse", "cold: ColdWarehouse") + NOTIFY)
    assert team.problems() == [
        (
            f"{_at(file, '@resource')}: resource warehouse: no single resource yields ColdWarehouse for "
            "parameter 'cold'; define a @resource with that type, or import it into the module"
        )
    ]


def test_resources_that_need_each_other_are_told(team: Team) -> None:
    file = team.write(
        _yields("cold", "ColdWarehouse", "warehouse: Warehouse")
        + _yields("warehouse", "Warehouse", "cold: ColdWarehouse")
        + NOTIFY
    )
    told = "resources need each other: cold needs warehouse needs cold; break the circle"
    assert team.problems() == [f"{_at(file, '@resource')}: {told}"]


@pytest.mark.parametrize(
    ("middleware", "problem"),
    [
        pytest.param(
            "TEAM_middlewar:Shout",
            "TEAM_middlewar: there is no module 'TEAM_middlewar'; did you mean 'TEAM_middleware'?; "
            "it is looked for in the working directory CWD",
            id="its module does not exist",
        ),
        pytest.param(
            "TEAM_middleware:Shuot",
            "middleware 'TEAM_middleware:Shuot': give module:name of a middleware class or function",
            id="its name does not exist",
        ),
        pytest.param(
            "TEAM_middleware",
            "middleware 'TEAM_middleware': give module:name of a middleware class or function",
            id="its name is left out",
        ),
        pytest.param(
            "TEAM_middleware:Silent",
            "middleware 'TEAM_middleware:Silent': give module:name of a middleware class or function",
            id="it cannot be called",
        ),
        pytest.param(
            "TEAM_middleware:Needy",
            "middleware 'TEAM_middleware:Needy': TypeError: Needy.__init__() missing 1 required positional "
            "argument: 'volume'",
            id="it cannot be made",
        ),
    ],
)
def test_middleware_that_cannot_be_used_is_told(team: Team, middleware: str, problem: str) -> None:
    team.write(NOTIFY)
    team.write(MIDDLEWARE, "TEAM_middleware.py", prelude=False)
    told = team.problems(middleware=(middleware.replace("TEAM", team.name),))
    assert told == [problem.replace("CWD", str(team.folder))]


# What takes effect


def _spec(team: Team, keywords: str = "", *, plain: bool = False) -> HandlerSpec:
    text = NOTIFY.replace("async def", "def") if plain else NOTIFY
    team.write(text.replace('"notify"', f'"notify", {keywords}' if keywords else '"notify"'))
    (spec,) = team.load()
    return spec


@pytest.mark.parametrize(
    ("keywords", "plain", "threads", "expected", "kind"),
    [
        pytest.param("", False, 8, 100, "async", id="a coroutine is bounded by max_in_flight"),
        pytest.param("", True, 8, 8, "threads:8", id="a plain handler by the setting's threads"),
        pytest.param("threads=3", True, 8, 3, "threads:3", id="or its own"),
        pytest.param("max_in_flight=2", True, 8, 2, "threads:8", id="but never above max_in_flight"),
        pytest.param("run_on_loop=True", True, 8, 100, "loop", id="on the loop there are no threads"),
        pytest.param(
            "rate_limit=RateLimit(0.1, burst=2)", False, 8, 5, "async", id="half a minute's rate at most"
        ),
        pytest.param("rate_limit=RateLimit(0.01)", False, 8, 1, "async", id="but one in any case"),
        pytest.param("rate_limit=RateLimit(50)", False, 8, 100, "async", id="a fast rate bounds nothing"),
    ],
)
def test_what_bounds_what_is_in_flight(
    team: Team, keywords: str, *, plain: bool, threads: int, expected: int, kind: str
) -> None:
    spec = _spec(team, keywords, plain=plain)
    settings = Settings(threads=threads)
    assert spec.slots(threads) == expected
    (row,) = table([spec], settings)
    assert (row.max_in_flight, row.kind) == (expected, kind)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param("", True, id="kept by default"),
        pytest.param("topic='t#ephemeral'", False, id="not on an ephemeral topic"),
        pytest.param("dead_letters=False", False, id="not if told so"),
        pytest.param("topic='t#ephemeral', dead_letters=True", True, id="on an ephemeral topic if told so"),
    ],
)
def test_dead_letters_are_kept_or_discarded(team: Team, keywords: str, *, expected: bool) -> None:
    assert _spec(team, keywords).keeps_dead_letters is expected


def test_dead_letters_of_an_ephemeral_channel_are_discarded(team: Team) -> None:
    team.write(NOTIFY.replace("notify", "notify#ephemeral"))
    assert not team.load()[0].keeps_dead_letters


def test_a_row_tells_what_takes_effect(team: Team) -> None:
    file = team.write(NOTIFY)
    (row,) = table(team.load())
    location = _at(file, "class Notify").replace("TEAM", team.name)
    assert row == HandlerRow(
        handler="Notify",
        topic=team.name,
        channel="notify",
        events=(f"{team.name}.created.v1",),
        kind="async",
        retry="1s, 2s, 4s, 8s, 16s, 32s, 1m4s, then dead letter",
        timeout_s=30.0,
        max_in_flight=100,
        on_unknown="requeue",
        dead_letters=f"{team.name}.notify.dead",
        location=location,
    )


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param("retry=RetryPolicy(1)", "dead letter at once", id="a single attempt"),
        pytest.param(
            "retry=RetryPolicy(1), dead_letters=False", "discard at once", id="without dead letters"
        ),
        pytest.param(
            "retry=RetryPolicy(7, Exponential(300, 2, 900))",
            "5m, 10m, 15m × 4, then dead letter",
            id="equal delays are counted",
        ),
        pytest.param(
            "retry=RetryPolicy(60000, Exponential(900, 1))",
            "15m × 59999, then dead letter",
            id="however many there are",
        ),
        pytest.param(
            "retry=RetryPolicy(5, Exponential(0.5, 1.1)), dead_letters=False",
            "0.5s, 0.55s, 0.605s, 0.666s, then discard",
            id="fractions of a second",
        ),
        pytest.param(
            "retry=RetryPolicy(4, Exponential(59.9999, 1.5))",
            "1m, 1m30s, 2m15s, then dead letter",
            id="minutes and seconds",
        ),
        pytest.param(
            "retry=RetryPolicy(2, Exponential(1e-6))", "0s, then dead letter", id="hardly any delay"
        ),
        pytest.param(
            "retry=RetryPolicy(2, on={KeyError: DeadLetter('unknown sku'), OSError: Pause(60)})",
            "1s, then dead letter; KeyError: DeadLetter(detail='unknown sku'); OSError: Pause(for_s=60)",
            id="rules",
        ),
    ],
)
def test_a_retry_policy_is_spelled_out_as_delays(team: Team, keywords: str, expected: str) -> None:
    (row,) = table([_spec(team, keywords)])
    assert row.retry == expected


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param(
            "kill_switch=KillSwitch()",
            "at 50% failed of 20 or more in 1m, for 30s to 15m, then 1 trial",
            id="the standard one",
        ),
        pytest.param(
            "kill_switch=KillSwitch(0.075, 5, 90, 10, 10, 3, (OSError, KeyError), (TimeoutError,))",
            "at 7.5% failed of 5 or more in 1m30s, for 10s to 10s, then 3 trials; only OSError, KeyError; "
            "not TimeoutError",
            id="one of its own",
        ),
        pytest.param(
            "kill_switch=KillSwitch(include=())",
            "at 50% failed of 20 or more in 1m, for 30s to 15m, then 1 trial; only none",
            id="one that blames nothing",
        ),
    ],
)
def test_a_kill_switch_is_spelled_out(team: Team, keywords: str, expected: str) -> None:
    (row,) = table([_spec(team, keywords)])
    assert (row.kill_switch, row.rate_limit) == (expected, None)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param("rate_limit=RateLimit(0.5)", "0.5 messages/s", id="one at a time"),
        pytest.param("rate_limit=RateLimit(100, burst=20)", "100 messages/s, bursts of 20", id="a burst"),
    ],
)
def test_a_rate_limit_is_spelled_out(team: Team, keywords: str, expected: str) -> None:
    (row,) = table([_spec(team, keywords)])
    assert (row.rate_limit, row.kill_switch) == (expected, None)


def test_a_handler_on_the_loop_has_no_timeout(team: Team) -> None:
    (row,) = table([_spec(team, 'run_on_loop=True, on_unknown="discard", dead_letters=False', plain=True)])
    assert (row.timeout_s, row.on_unknown, row.dead_letters) == (None, "discard", None)

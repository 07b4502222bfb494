"""Loader: what a target names is found, and all that is wrong with it is told at once, with file and line."""

import sys

import pytest

from nsqkit import Extension
from nsqkit.loading.loader import load
from nsqkit.settings.settings import Settings
from tests.unit.loading.team import CHARGE, NEEDY, NOTIFY, Team, at, yields

# What is found


def test_a_module_has_its_handlers_in_order(team: Team) -> None:
    file = team.write(NOTIFY + CHARGE)
    notify, charge = team.load()
    assert (notify.name, charge.name) == ("Notify", "Charge")
    assert (notify.topic, notify.channel) == (team.name, "notify")
    assert notify.location.replace(team.name, "TEAM") == at(file, "class Notify")


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
    team.write(imports + own + yields("warehouse", "Warehouse"), "TEAM_resources.py", prelude=False)
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
from nsqkit import Extension

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

class Asking(Extension):
    def __init__(self, volume: int) -> None:
        self.volume = volume

READY = Extension()
"""


def test_middleware_is_made_in_the_order_of_the_setting(team: Team) -> None:
    team.write(NOTIFY)
    team.write(MIDDLEWARE, "TEAM_middleware.py", prelude=False)
    names = tuple(f"{team.name}_middleware:{name}" for name in ("whisper", "Shout"))
    whisper, shout = load([team.name], Settings(middleware=names)).middleware
    assert getattr(whisper, "__name__", "") == "whisper"
    assert type(shout).__name__ == "Shout"


def test_an_extension_is_left_to_the_worker_which_gives_it_its_resources(team: Team) -> None:
    team.write(f"@resource\ndef volume() -> Iterator[int]:\n    yield 11\n\n{NOTIFY}")
    team.write(MIDDLEWARE, "TEAM_middleware.py", prelude=False)
    names = tuple(f"{team.name}_middleware:{name}" for name in ("Asking", "READY"))
    asking, ready = load([team.name], Settings(middleware=names)).middleware
    assert isinstance(asking, type)
    assert isinstance(ready, Extension)


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
        f"{at(file, 'class Misspelt')}: Misspelt: unknown class keyword 'chanel'; did you mean 'channel'?",
        f'{at(file, "class Misspelt")}: Misspelt: has no channel; add channel="…" to the class keywords',
        (
            f'{at(file, "class Topicless")}: Topicless: has no topic; add topic="…" to the class keywords '
            "or to @event(…)"
        ),
        (
            f"{at(file, 'class BadTopic')}: BadTopic: topic name 'or ders' has characters outside "
            "A-Z a-z 0-9 . _ - (and a final #ephemeral)"
        ),
        (
            f"{at(file, 'class BadPolicy')}: BadPolicy: retry=8 is not a policy; "
            "write retry=RetryPolicy(max_attempts=…, backoff=…)"
        ),
        (
            f"{at(file, 'class Handleless')}: Handleless: has no handle method; "
            "write async def handle(self, event, ctx)"
        ),
        (
            f"{at(file, 'class Again')}: Notify and Again have the same topic 'TEAM' and channel 'notify'; "
            "give each its own channel, or write one handler for a union of the events"
        ),
    ]


def test_the_problems_of_all_targets_are_told_at_once(team: Team) -> None:
    first = team.write(CHARGE.replace('channel="charge"', "max_in_flight=0, channel='a'"))
    problems = team.problems("TEAM", "TEAM_missing", "TEAM:Chrage")
    assert problems == [
        f"{at(first, 'class Charge')}: Charge: max_in_flight=0 is not in 1..2500",
        (
            f"TEAM_missing: there is no module 'TEAM_missing'; did you mean 'TEAM'?; "
            f"the working directory is {team.folder}"
        ),
        "TEAM:Chrage: no handler class 'Chrage' found; did you mean 'Charge'?",
    ]


def test_what_was_wrong_before_a_module_failed_is_told_too(team: Team) -> None:
    file = team.write(CHARGE.replace(', channel="charge"', "") + "retry = RetryPolicy(0)\n" + NOTIFY)
    assert team.problems() == [
        f'{at(file, "class Charge")}: Charge: has no channel; add channel="…" to the class keywords',
        f"{at(file, 'retry =')}: ValueError: RetryPolicy(max_attempts=0): not in 1..65525",
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
            "TEAM.Created: version=0 must be a whole number of 1 or more",
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
    assert told.startswith(f"{at(file, '# here')}: {problem}")


def test_a_mistake_that_a_library_finds_is_told_with_the_teams_own_line(team: Team) -> None:
    file = team.write("@dataclass  # here\nclass Order:\n    lines: list = []\n")
    (told,) = team.problems()
    assert told.startswith(
        f"{at(file, '# here')}: ValueError: mutable default <class 'list'> for field lines"
    )


def test_a_resource_that_is_none_is_told_with_its_line(team: Team) -> None:
    file = team.write("@resource  # here\ndef warehouse() -> Warehouse:\n    return Warehouse()\n")
    assert team.problems() == [
        f"{at(file, '# here')}: resource warehouse: must be a generator function; yield the resource once"
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
            "there is no module 'TEAM_orderz'; did you mean 'TEAM_orders'?; the working directory is CWD",
            id="a misspelt module",
        ),
        pytest.param(
            "TEAM_pack.inner.ordrs",
            "there is no module 'TEAM_pack.inner.ordrs'; did you mean 'TEAM_pack.inner.orders'?; "
            "the working directory is CWD",
            id="a misspelt module of a package",
        ),
        pytest.param(
            "TEAM_pakc.inner.orders",
            "there is no module 'TEAM_pakc'; did you mean 'TEAM_pack'?; the working directory is CWD",
            id="a misspelt package",
        ),
        pytest.param(
            "TEAM_orders.inner",
            "there is no module 'TEAM_orders.inner'; the working directory is CWD",
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
            "there is no module 'TEAM_orderz'; did you mean 'TEAM_orders'?; the working directory is CWD",
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
        pytest.param("TEAM:Notfy", "no handler class 'Notfy' found; did you mean 'Notify'?", id="misspelt"),
        pytest.param("TEAM:Refund", "no handler class 'Refund' found", id="somewhere else"),
        pytest.param("TEAM:Created", "no handler class 'Created' found", id="no handler"),
        pytest.param("TEAM:Team", "no handler class found", id="an abstract one"),
    ],
)
def test_a_class_that_does_not_exist_is_told_with_the_closest(team: Team, target: str, problem: str) -> None:
    team.write("class Team(Handler[Created], abstract=True): ...\n" + NOTIFY)
    assert team.problems(target) == [f"{target}: {problem}"]


def test_a_module_without_handlers_is_told(team: Team) -> None:
    team.write("")
    team.write("", "TEAM_too.py", prelude=False)
    assert team.problems("TEAM", "TEAM_too") == ["TEAM, TEAM_too: no handler class found"]


@pytest.mark.parametrize(
    ("middleware", "problem"),
    [
        pytest.param(
            "TEAM_middlewar:Shout",
            "TEAM_middlewar: there is no module 'TEAM_middlewar'; did you mean 'TEAM_middleware'?; "
            "the working directory is CWD",
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


# What a package has beside its handlers


def test_a_package_is_loaded_without_its_program_tests_and_migrations(team: Team) -> None:
    team.write("", "TEAM/__init__.py", prelude=False)
    team.write(NOTIFY, "TEAM/orders.py")
    for name in ("__main__.py", "tests/__init__.py", "migrations/__init__.py", "migrations/m1.py"):
        team.write("raise RuntimeError('imported')", f"TEAM/{name}", prelude=False)
    assert [spec.name for spec in team.load()] == ["Notify"]


@pytest.mark.parametrize("exclude", ["legacy", "TEAM.legacy"])
def test_a_package_is_loaded_without_what_a_setting_excludes(team: Team, exclude: str) -> None:
    team.write("", "TEAM/__init__.py", prelude=False)
    team.write(NOTIFY, "TEAM/orders.py")
    team.write("raise RuntimeError('imported')", "TEAM/legacy.py", prelude=False)
    assert [spec.name for spec in team.load(exclude=(exclude.replace("TEAM", team.name),))] == ["Notify"]


def test_a_program_that_is_named_is_loaded(team: Team) -> None:
    team.write("", "TEAM/__init__.py", prelude=False)
    team.write(NOTIFY, "TEAM/__main__.py")
    assert [spec.name for spec in team.load("TEAM.__main__")] == ["Notify"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("from TEAM_orders import Notify as Chosen\n", id="imported"),
        pytest.param(
            "from TEAM_orders import Notify\n\n\ndef make():\n"
            '    class Made(Notify, channel="made"): ...\n    return Made\n\n\nChosen = make()\n',
            id="made by a function",
        ),
    ],
)
def test_an_explicit_name_takes_what_it_holds(team: Team, text: str) -> None:
    team.write(NOTIFY, "TEAM_orders.py")
    team.write(text, prelude=False)
    (spec,) = team.load("TEAM:Chosen")
    assert spec.name in {"Notify", "Made"}


@pytest.mark.parametrize("folder", [".", "./", ".."])
def test_a_folder_is_no_module(team: Team, folder: str) -> None:
    team.write(NOTIFY)
    (problem,) = team.problems(folder)
    assert problem == (
        f"{folder}: give the name of a module or package of this folder (TEAM), as in nsqkit run shop.orders"
    )

"""Checks: what is wrong with handlers that run together is told with file and line."""

import pytest

from tests.unit.loading.team import NEEDY, NOTIFY, Team, at, yields


def test_three_handlers_on_one_subscription_are_one_problem(team: Team) -> None:
    file = team.write(NOTIFY + NOTIFY.replace("Notify", "Again") + NOTIFY.replace("Notify", "Third"))
    (told,) = team.problems()
    assert told.startswith(f"{at(file, 'class Third')}: Notify and Again and Third have the same topic")


TWO_EVENTS = """\
@event("TEAM.cancelled", version=1, topic="TEAM")
@dataclass
class Cancelled: ...


"""


def test_what_becomes_of_other_events_of_the_topic_must_be_chosen(team: Team) -> None:
    file = team.write(TWO_EVENTS + NOTIFY)
    assert team.problems() == [
        (
            f"{at(file, 'class Notify')}: Notify: topic 'TEAM' also has TEAM.cancelled.v1; choose "
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
            f"{at(file, 'class Notify')}: Notify: its retry policy waits up to {longest} s, more than the "
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
            yields("one", "Warehouse") + yields("other", "Warehouse"),
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
            "parameter 'warehouse' has no type; annotate it with the type that a resource yields",
            id="it has no type",
        ),
        pytest.param(
            "",
            "warehouse: 'Nowhere'",
            "its annotations cannot be read: name 'Nowhere' is not defined; define or import it in TEAM",
            id="its type does not exist",
        ),
    ],
)
def test_a_resource_that_is_not_there_is_told(
    team: Team, resources: str, parameter: str, problem: str
) -> None:
    file = team.write(resources + NEEDY.replace("PARAMETER", parameter))
    assert team.problems() == [f"{at(file, 'class Notify')}: Notify: {problem}"]


@pytest.mark.parametrize(
    ("resources", "parameter"),
    [
        pytest.param("", "settings: Settings", id="the settings are always there"),
        pytest.param(yields("any", "Warehouse"), "warehouse: Warehouse", id="by its type"),
        pytest.param(yields("any", "ColdWarehouse"), "warehouse: Warehouse", id="by a kind of its type"),
        pytest.param(
            yields("warehouse", "Warehouse") + yields("other", "Warehouse"),
            "warehouse: Warehouse",
            id="by its name among several",
        ),
        pytest.param(
            yields("warehouse", "Warehouse", "settings: Settings"),
            "warehouse: Warehouse",
            id="that needs settings",
        ),
    ],
)
def test_a_resource_is_found(team: Team, resources: str, parameter: str) -> None:
    team.write(resources + NEEDY.replace("PARAMETER", parameter))
    assert [spec.name for spec in team.load()] == ["Notify"]


def test_a_resource_that_another_one_needs_must_be_there_too(team: Team) -> None:
    file = team.write(yields("warehouse", "Warehouse", "cold: ColdWarehouse") + NOTIFY)
    assert team.problems() == [
        (
            f"{at(file, '@resource')}: resource warehouse: no single resource yields ColdWarehouse for "
            "parameter 'cold'; define a @resource with that type, or import it into the module"
        )
    ]


def test_resources_that_need_each_other_are_told(team: Team) -> None:
    file = team.write(
        yields("cold", "ColdWarehouse", "warehouse: Warehouse")
        + yields("warehouse", "Warehouse", "cold: ColdWarehouse")
        + NOTIFY
    )
    told = "resources need each other: cold needs warehouse needs cold; break the circle"
    assert team.problems() == [f"{at(file, '@resource')}: {told}"]


def test_two_handlers_of_one_name_need_another_name(team: Team) -> None:
    team.write("", "TEAM/__init__.py", prelude=False)
    second = team.write(NOTIFY, "TEAM/orders.py")
    imports = "from nsqkit import Context, Handler\nfrom TEAM.orders import Created\n"
    first = team.write(imports + NOTIFY.replace('"notify"', '"again"'), "TEAM/again.py", prelude=False)
    (problem,) = team.problems()
    here, there = (at(file, "class Notify").replace(team.name, "TEAM") for file in (second, first))
    assert problem == (
        f"{here}: Notify is also the name of the handler at {there}; "
        'add name="…" to the class keywords of one, for its logs, metrics and commands'
    )


@pytest.mark.parametrize("name", ["", "not ify", 7])
def test_a_name_is_one_word(team: Team, name: object) -> None:
    team.write(NOTIFY.replace('"notify"', f'"notify", name={name!r}'))
    (problem,) = team.problems()
    assert problem.endswith(f"name={name!r} is not a name of letters, digits, _, - and dots")


def test_a_name_labels_a_handler(team: Team) -> None:
    team.write(NOTIFY + NOTIFY.replace('"notify"', '"again", name="notify-again"').replace("Notify", "Again"))
    assert [spec.name for spec in team.load()] == ["Notify", "notify-again"]


def test_an_event_that_cannot_be_decoded_is_named_at_its_handler(team: Team) -> None:
    file = team.write(
        "class Money: ...\n\n\n"
        + NOTIFY.replace("Created", "Priced")
        .replace("class Notify", PRICED)
        .replace('"notify"', '"notify", on_unknown="discard"')
    )
    assert team.problems() == [
        (
            f"{at(file, 'class Notify')}: Notify: event Priced: field price: nothing can decode Money; "
            "make it a dataclass, or give @event decode={Money: …}"
        )
    ]


PRICED = """\
@event("TEAM.priced", version=1, topic="TEAM")
@dataclass
class Priced:
    price: Money


class Notify"""


def test_all_mistakes_of_resources_and_handlers_are_told_at_once(team: Team) -> None:
    file = team.write(
        "@resource\ndef one() -> Warehouse:\n    yield 1\n\n\n"
        "@resource\ndef other() -> 'Iterator[Nowhere]':\n    yield 1\n\n\n"
        + NEEDY.replace("PARAMETER", "warehouse: Warehouse")
    )
    assert team.problems() == [
        f"{at(file, '@resource')}: resource one: annotate what it yields, as in -> AsyncIterator[Warehouse]",
        (
            f"{file.parent / 'TEAM.py'}:27: resource other: its annotations cannot be read: "
            "name 'Nowhere' is not defined; define or import it in TEAM"
        ),
        (
            f"{at(file, 'class Notify')}: Notify: no single resource yields Warehouse for parameter "
            "'warehouse'; define a @resource with that type, or import it into the module"
        ),
    ]


FOR_CHECKERS = """\
from typing import TYPE_CHECKING
import typing as t
if TYPE_CHECKING:
    from decimal import Decimal as Money
if t.TYPE_CHECKING:
    import datetime


@event("TEAM.priced", version=1, topic="TEAM.priced")
@dataclass
class Priced:
    price: "Money"


@event("TEAM.dated", version=1, topic="TEAM.dated")
@dataclass
class Dated:
    at: "datetime.datetime"
    next: "Dated | None" = None


"""


def test_a_name_that_is_only_imported_for_type_checkers_is_told_with_its_import(team: Team) -> None:
    dated = NOTIFY.replace("Created", "Dated").replace("Notify", "Date")
    file = team.write(FOR_CHECKERS + NOTIFY.replace("Created", "Priced") + dated)
    what = "its annotations cannot be read"
    assert team.problems() == [
        (
            f"{at(file, 'class Notify')}: Notify: event Priced: {what}: Money is only imported under "
            f"TYPE_CHECKING; move the import at {at(file, 'as Money')} out of it"
        ),
        (
            f"{at(file, 'class Date(')}: Date: event Dated: {what}: datetime is only imported under "
            f"TYPE_CHECKING; move the import at {at(file, 'import datetime')} out of it"
        ),
    ]


ABSTRACT = """\
from abc import ABC, abstractmethod


class Base(Handler[Created], BASES abstract=True):
    @abstractmethod
    def address(self) -> str: ...

    async def handle(self, event: Created, ctx: Context) -> None: ...


class Notify(Base, channel="notify"): ...


class Full(Base, channel="full"):
    def address(self) -> str:
        return "a"
"""


@pytest.mark.parametrize("bases", ["ABC,", ""])
def test_an_abstract_method_that_is_not_written_is_named(team: Team, bases: str) -> None:
    file = team.write(ABSTRACT.replace("BASES", bases))
    (problem,) = team.problems()
    place = at(file, "class Notify")
    assert problem == f"{place}: Notify: method address is abstract; define it, or say abstract=True"

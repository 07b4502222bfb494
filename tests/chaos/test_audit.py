"""The audit finds what is wrong, each sort of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import audit
from tests.chaos.about import About
from tests.chaos.audit import Ledgers, Tally, problems
from tests.chaos.checkup import Record
from tests.chaos.ledger import CONFIRMED, DEAD

ABOUT = About(
    name="kills",
    faults={"kill": 2},
    planned={"kill": 2},
    unconfirmed=0,
    left=0,
    timeouts=0,
    exit_codes={"worker-1": 0, "worker-2": 0},
    crashes=0,
    unexpected=(),
    miscounts=(),
    may_leave=False,
    is_clean=False,
    max_held=0,
    max_running={},
    seconds=1.0,
)

CODES = {"worker-1": 0, "worker-2": 1}


def ledgers(
    *confirmed: str,
    succeeded: Mapping[str, int] | None = None,
    dead: Mapping[str, tuple[str, ...]] | None = None,
    started: Mapping[str, int] | None = None,
    cancelled: Mapping[str, int] | None = None,
    deaf: Mapping[str, int] | None = None,
) -> Ledgers:
    done = succeeded or {}
    return Ledgers(
        frozenset(confirmed),
        done,
        dead or {},
        done if started is None else started,
        cancelled or {},
        deaf or {},
    )


ALL_WELL = ledgers("1-quick", "2-hopeless", succeeded={"1-quick": 1}, dead={"2-hopeless": ("exhausted",)})


def test_where_all_is_well_nothing_is_found() -> None:
    assert list(problems(ABOUT, ALL_WELL)) == []


class TestTallies:
    """What is counted, by kind of order."""

    def total(self, found: Ledgers) -> Tally:
        return sum(found.tallies().values(), Tally())

    def test_an_order_without_success_or_dead_letter_is_lost(self) -> None:
        found = ledgers("1-quick", "2-quick", succeeded={"1-quick": 1}, started={"1-quick": 1, "2-quick": 3})
        assert self.total(found) == Tally(confirmed=2, succeeded=1, lost=1)
        assert list(problems(ABOUT, found)) == ["1 lost: 2-quick"]

    @pytest.mark.parametrize(
        ("succeeded", "dead"),
        [
            pytest.param({"1-quick": 2}, {}, id="two successes"),
            pytest.param({}, {"1-quick": ("exhausted", "exhausted")}, id="two dead letters"),
            pytest.param({"1-quick": 1}, {"1-quick": ("exhausted",)}, id="a success and a dead letter"),
        ],
    )
    def test_an_order_that_ended_twice_is_duplicated(
        self, succeeded: dict[str, int], dead: dict[str, tuple[str, ...]]
    ) -> None:
        found = self.total(ledgers("1-quick", succeeded=succeeded, dead=dead))
        assert (found.duplicated, found.lost) == (1, 0)

    def test_an_order_that_was_not_confirmed_is_extra_and_never_lost(self) -> None:
        found = ledgers("1-quick", succeeded={"1-quick": 1, "2-quick": 1})
        assert self.total(found) == Tally(confirmed=1, succeeded=1, extra=1)
        assert list(problems(ABOUT, found)) == []

    def test_the_kinds_are_counted_apart(self) -> None:
        assert ALL_WELL.tallies() == {
            "hopeless": Tally(confirmed=1, dead_lettered=1),
            "quick": Tally(confirmed=1, succeeded=1),
        }


class TestProblems:
    """What makes the exit code 1."""

    def test_a_worker_whose_threads_hang_may_leave_something_behind(self) -> None:
        assert list(problems(replace(ABOUT, may_leave=True, exit_codes=CODES), ALL_WELL)) == []

    @pytest.mark.parametrize(
        ("codes", "deaf", "found"),
        [
            pytest.param(CODES, {"worker-2": 1, "worker-3": 2}, [], id="one of them ran it"),
            pytest.param(
                {"worker-1": 0, "worker-2": 0},
                {"worker-2": 1},
                ["worker-2 was told to stop, and ended with 0"],
                id="it hides what it left behind",
            ),
            pytest.param(
                {"worker-1": 1, "worker-2": 1},
                {"worker-2": 1},
                ["worker-1 was told to stop, and ended with 1"],
                id="one that ran none leaves something behind",
            ),
            pytest.param(
                {"worker-2": None},
                {"worker-2": 1},
                ["worker-2 was told to stop, and ended with None"],
                id="it does not end",
            ),
            pytest.param(
                {"worker-1": 0},
                {"worker-1": 0},
                ["no worker was told to stop while a handler ignored its cancellation"],
                id="none ran one",
            ),
        ],
    )
    def test_a_worker_whose_handler_ignores_its_cancellation_ends_with_1(
        self, codes: Mapping[str, int | None], deaf: Mapping[str, int], found: list[str]
    ) -> None:
        handled = ledgers("1-deaf", succeeded={"1-deaf": 1}, deaf=deaf)
        assert list(problems(replace(ABOUT, exit_codes=codes), handled)) == found

    def test_the_names_of_many_lost_orders_are_cut_short(self) -> None:
        found = ledgers(*(f"{number}-quick" for number in range(7)))
        assert list(problems(ABOUT, found)) == ["7 lost: 0-quick, 1-quick, 2-quick, 3-quick, 4-quick, …"]

    def test_nothing_confirmed_proves_nothing(self) -> None:
        assert list(problems(ABOUT, ledgers())) == ["no order was confirmed, so nothing is proved"]

    @pytest.mark.parametrize(
        ("order", "reason"),
        [
            pytest.param("1-quick", "exhausted", id="one that should have succeeded"),
            pytest.param("1-poison", "exhausted", id="one that should have had another reason"),
        ],
    )
    def test_a_dead_letter_that_should_not_be_is_named(self, order: str, reason: str) -> None:
        found = ledgers(order, dead={order: (reason,)})
        assert list(problems(ABOUT, found)) == [f"1 dead-lettered for a reason that is not theirs: {order}"]

    @pytest.mark.parametrize(
        ("about", "problem"),
        [
            pytest.param(
                replace(ABOUT, faults={"kill": 1}),
                "only 1 of 2 faults of the sort 'kill' were carried out",
                id="faults were left out",
            ),
            pytest.param(
                replace(ABOUT, left=3),
                "nsqd still had 3 messages when the time was over",
                id="it never ended",
            ),
            pytest.param(
                replace(ABOUT, unexpected=("worker-1 ended with 1",)), "worker-1 ended with 1", id="a crash"
            ),
            pytest.param(
                replace(ABOUT, miscounts=("worker-2: Orders …",)),
                "worker-2: Orders …",
                id="counts do not add up",
            ),
            pytest.param(
                replace(ABOUT, is_clean=True, timeouts=2),
                "nsqd counted 2 timeouts",
                id="a timeout on a deploy",
            ),
            pytest.param(
                replace(ABOUT, exit_codes=CODES),
                "worker-2 was told to stop, and ended with 1",
                id="a deploy that left something behind",
            ),
            pytest.param(
                replace(ABOUT, may_leave=True, exit_codes={"worker-1": 0, "worker-2": None}),
                "worker-2 was told to stop, and ended with None",
                id="a deploy that never ended",
            ),
        ],
    )
    def test_each_is_a_line(self, about: About, problem: str) -> None:
        assert list(problems(about, ALL_WELL)) == [problem]

    @pytest.mark.parametrize(
        ("started", "cancelled", "is_well"),
        [
            pytest.param(1, 0, True, id="once"),
            pytest.param(2, 1, True, id="again after it was cancelled"),
            pytest.param(2, 0, False, id="again for no reason"),
            pytest.param(3, 1, False, id="more often than it was cancelled"),
        ],
    )
    def test_clean_deploys_handle_again_only_what_they_cancelled(
        self, started: int, cancelled: int, *, is_well: bool
    ) -> None:
        found = ledgers(
            "1-slow", succeeded={"1-slow": 1}, started={"1-slow": started}, cancelled={"1-slow": cancelled}
        )
        assert (list(problems(replace(ABOUT, is_clean=True), found)) == []) is is_well
        assert list(problems(ABOUT, found)) == [], "only where deploys are all that happens"


def test_the_ledgers_of_all_processes_are_read(tmp_path: Path) -> None:
    (tmp_path / CONFIRMED).write_text("1-quick\n2-hopeless\n3-slow\n")
    (tmp_path / DEAD).write_text("2-hopeless exhausted\n2-hopeless exhausted\n")
    (tmp_path / "worker-1.ledger").write_text(
        "started 1-quick 0.1 1 a\nsucceeded 1-quick 0.2\nstarted 3-slow 0.2 1 a\ncancelled 3-slow 0.3\n"
    )
    (tmp_path / "worker-2.ledger").write_text(
        "started 3-slow 0.5 2 a\nsucceeded 3-slow 0.6\nfailed 2-hopeless 0.7\nsucc"
    )
    ABOUT.save(tmp_path)
    found = audit.audit(tmp_path)
    assert found.about.name == "kills"
    assert found.total == Tally(confirmed=3, succeeded=2, dead_lettered=1, duplicated=1)
    assert (found.cancelled, found.problems) == (1, ())


DEAF = "started 1-deaf 1.0 1 a\n"
DEAF_AGAIN = "started 1-deaf 2.0 2 a\nsucceeded 1-deaf 2.5\n"
FEW = "started 1-single 1.0 1 a\nstarted 2-single 1.1 1 b\nsucceeded 1-single 1.5\nsucceeded 2-single 1.5\n"


@pytest.mark.parametrize(
    ("order", "about", "files", "found"),
    [
        pytest.param(
            "1-quick",
            ABOUT,
            {"outages": "due 1-quick\nback 20.0\n", "worker-1": "succeeded 1-quick 20.5\n"},
            ("1 waited for a dependency that they do not need: 1-quick",),
            id="an outage",
        ),
        pytest.param(
            "1-switched",
            replace(ABOUT, max_held=14),
            {"held": "half_open 15 Switched worker-1\n", "worker-1": "succeeded 1-switched 1.0\n"},
            ("Switched in worker-1 had 15 messages in flight while half_open, of at most 14",),
            id="half-open",
        ),
        pytest.param(
            "1-single",
            replace(ABOUT, max_running={"single": 1}),
            {"worker-1": FEW},
            (
                "worker-1: 2 orders of the kind 'single' ran at a time, of at most 1",
                "the first starts of the kind 'single' came from the nsqd in parts of [0, 1]",
            ),
            id="few in flight",
        ),
        pytest.param(
            "1-deaf",
            replace(ABOUT, exit_codes=CODES),
            {"worker-1": DEAF_AGAIN, "worker-2": DEAF},
            (),
            id="deaf: the worker that it ran in ends with 1",
        ),
        pytest.param(
            "1-deaf",
            replace(ABOUT, exit_codes=CODES),
            {"worker-1": DEAF, "worker-2": DEAF_AGAIN},
            ("worker-1 was told to stop, and ended with 0", "worker-2 was told to stop, and ended with 1"),
            id="deaf: another worker ends with 1",
        ),
    ],
)
def test_what_a_phase_promises_beside_is_read_from_its_ledgers(
    tmp_path: Path, order: str, about: About, files: Mapping[str, str], found: tuple[str, ...]
) -> None:
    for name, lines in files.items():
        (tmp_path / f"{name}.ledger").write_text(lines)
    (tmp_path / CONFIRMED).write_text(f"{order}\n")
    about.save(tmp_path)
    assert audit.audit(tmp_path).problems == found


def test_what_a_soak_left_behind_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / CONFIRMED).write_text("1-quick\n")
    (tmp_path / "worker-1.ledger").write_text("succeeded 1-quick 1.0\n")
    ABOUT.save(tmp_path)
    Record(2.0, 1, (), ("the topic came back",), {}, ()).save(tmp_path)
    assert audit.audit(tmp_path).problems == ("the topic came back",)

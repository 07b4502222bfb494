"""The audit finds what is wrong, each sort of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import audit
from tests.chaos.about import About
from tests.chaos.audit import Ledgers, Tally, problems
from tests.chaos.ledger import CONFIRMED, DEAD

ABOUT = About(
    name="kills",
    faults={"kill": 2},
    planned={"kill": 2},
    unconfirmed=0,
    left=0,
    timeouts=0,
    exit_codes=(0, 0),
    crashes=0,
    unexpected=(),
    miscounts=(),
    may_leave=False,
    is_clean=False,
    seconds=1.0,
)


def ledgers(
    *confirmed: str,
    succeeded: Mapping[str, int] | None = None,
    dead: Mapping[str, tuple[str, ...]] | None = None,
    started: Mapping[str, int] | None = None,
    cancelled: Mapping[str, int] | None = None,
) -> Ledgers:
    done = succeeded or {}
    return Ledgers(
        frozenset(confirmed), done, dead or {}, done if started is None else started, cancelled or {}
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
        assert list(problems(replace(ABOUT, may_leave=True, exit_codes=(0, 1)), ALL_WELL)) == []

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
                replace(ABOUT, exit_codes=(0, 1)),
                "workers that were told to stop ended with [0, 1]",
                id="a deploy that left something behind",
            ),
            pytest.param(
                replace(ABOUT, may_leave=True, exit_codes=(0, None)),
                "workers that were told to stop ended with [0, None]",
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
        "started 1-quick 1\nsucceeded 1-quick\nstarted 3-slow 1\ncancelled 3-slow\n"
    )
    (tmp_path / "worker-2.ledger").write_text("started 3-slow 2\nsucceeded 3-slow\nfailed 2-hopeless\nsucc")
    ABOUT.save(tmp_path)
    found = audit.audit(tmp_path)
    assert found.about.name == "kills"
    assert found.total == Tally(confirmed=3, succeeded=2, dead_lettered=1, duplicated=1)
    assert (found.cancelled, found.problems) == (1, ())

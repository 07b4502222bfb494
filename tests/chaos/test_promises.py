"""Each special promise of a phase: what keeps it, and what breaks it."""

import pytest

from tests.chaos.promises import overheld, overrun, starved, went_on

OUTAGE = "away 10.0, due 1-quick, back 20.0"
MET = "failed 2-guarded 11.0, succeeded 2-guarded 21.0"


def lines(*text: str) -> list[list[str]]:
    """Return the words of lines that are separated by commas."""
    return [line.split() for each in text for line in each.split(",")]


def one_by_one(nsqd: str) -> list[list[str]]:
    """Return what a worker writes that handles one order of each of these nsqd after another."""
    return lines(
        *(
            f"started {at}-single {at}.0 1 {each}, succeeded {at}-single {at}.5"
            for at, each in enumerate(nsqd)
        )
    )


class TestOutage:
    """What needs no dependency goes on while that is away."""

    def test_all_is_well_if_it_was_handled_in_time(self) -> None:
        worker = lines(MET, "succeeded 1-quick 30.0, succeeded 1-quick 12.0")
        assert list(went_on(lines(OUTAGE), worker)) == []

    @pytest.mark.parametrize(
        "worker",
        [
            pytest.param(lines(MET, "succeeded 1-quick 20.5"), id="handled too late"),
            pytest.param(lines(MET), id="never handled"),
        ],
    )
    def test_an_order_that_waited_for_its_end_is_found(self, worker: list[list[str]]) -> None:
        (found,) = went_on(lines(OUTAGE), worker)
        assert found == "1 waited for a dependency that they do not need: 1-quick"

    def test_each_outage_has_an_end_of_its_own(self) -> None:
        outages = lines(OUTAGE, "away 30.0, due 3-quick, back 40.0")
        worker = lines(MET, "succeeded 1-quick 12.0, succeeded 3-quick 35.0")
        assert list(went_on(outages, worker)) == []
        (found,) = went_on(outages, [*worker[:-1], *lines("succeeded 3-quick 45.0")])
        assert found.endswith(": 3-quick")

    def test_an_outage_that_a_handler_did_not_notice_proves_nothing(self) -> None:
        worker = lines(MET, "succeeded 1-quick 12.0, succeeded 3-pausing 11.0")
        assert list(went_on(lines(OUTAGE), worker)) == ["no order of the kind 'pausing' met an outage"]


class TestHeld:
    """A handler has no more in flight than it may."""

    @pytest.mark.parametrize(
        ("samples", "found"),
        [
            pytest.param("half_open 14 Switched worker-1", [], id="as many as it may"),
            pytest.param(
                "half_open 15 Switched worker-1, half_open 3 Switched worker-1",
                ["Switched in worker-1 had 15 messages in flight while half_open, of at most 14"],
                id="more",
            ),
            pytest.param(
                "running 15 Switched worker-2, half_open 9 Switched worker-1",
                ["Switched in worker-2 had 15 messages in flight while running, of at most 14"],
                id="more before or after",
            ),
            pytest.param(
                "running 9 Switched worker-1", ["no handler was seen half-open"], id="never half-open"
            ),
        ],
    )
    def test_the_most_counts(self, samples: str, found: list[str]) -> None:
        assert list(overheld(lines(samples), 14)) == found


class TestRunning:
    """No more orders of a kind run than may."""

    def test_one_after_another_is_well(self) -> None:
        assert list(overrun(one_by_one("abab"), {"single": 1})) == []

    @pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
    def test_one_that_starts_before_the_end_of_another_is_found(self, end: str) -> None:
        first, last = "started 5-single 5.0 1 a", "started 6-single 5.1 1 b"
        ended = f"{end} 5-single 5.1"
        assert list(overrun(lines(first, ended, last), {"single": 1})) == []
        assert list(overrun(lines(first, last, ended), {"single": 1})) == [
            "2 orders of the kind 'single' ran at a time, of at most 1"
        ]

    def test_kinds_are_counted_apart(self) -> None:
        both = lines("started 1-single 1.0 1 a, started 2-triple 1.0 1 a")
        assert list(overrun(both, {"single": 1, "triple": 1})) == []


class TestStarving:
    """While messages wait on all nsqd, each gets its part."""

    def test_a_part_for_each_is_enough(self) -> None:
        assert list(starved(one_by_one("aaabbacbccbabc"), ["single"])) == []

    def test_workers_are_read_in_the_order_of_time(self) -> None:
        assert list(starved([*one_by_one("aaaa"), *one_by_one("bbbb")], ["single"])) == []

    @pytest.mark.parametrize(
        ("nsqd", "parts"),
        [
            pytest.param("aaaaaaabbbbbbb", "[0, 7]", id="nothing"),
            pytest.param("aaaaaaaaaabaaaaaaabbbbbbbbbbbbbbbbbb", "[1, 17]", id="hardly anything"),
        ],
    )
    def test_an_nsqd_that_waits_for_the_end_of_another_is_found(self, nsqd: str, parts: str) -> None:
        assert list(starved(one_by_one(nsqd), ["single"])) == [
            f"the first starts of the kind 'single' came from the nsqd in parts of {parts}"
        ]

    def test_no_start_proves_nothing(self) -> None:
        (found,) = starved([], ["single"])
        assert found.endswith("in parts of []")

"""Outcome log: one line for each failure, or for many that are alike."""

import dataclasses
import math
from typing import Any

import pytest

from nsqkit.policy.folds import FIRST_WINDOW_S, MOST_KINDS, Folds
from nsqkit.policy.verdict import SUCCESS, OutcomeLabel, RequeueReason, Verdict
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.outcome_log import FirstLine, OutcomeLog
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import (
    Bench,
    FakeMessage,
    RecordingLog,
    asynchronous,
    delivery,
    passed,
    plain,
    timers,
)
from tests.waiting import turns

REQUEUE = Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, 0.2, "ValueError: no")
TIMEOUT = Verdict(OutcomeLabel.REQUEUE, RequeueReason.TIMEOUT, 0.2, "ValueError: no")
DISCARD = Verdict(OutcomeLabel.DISCARD, detail="old")


def fail(error: Exception) -> None:
    raise error


def raised(text: str = "no", kind: type[Exception] = ValueError) -> Exception:
    """Return an exception that one and the same line has raised."""
    with pytest.raises(kind) as caught:
        fail(kind(text))
    return caught.value


def elsewhere() -> Exception:
    """Return an exception of the same kind that another line has raised."""
    with pytest.raises(ValueError, match="no") as caught:
        int("no")
    return caught.value


class Lines:
    """An outcome log on a clock, and what it writes."""

    def __init__(
        self, hours: VirtualClock, *, is_folding: bool = True, draw: float = 0.0, **options: Any
    ) -> None:
        self.delivery = delivery(FakeMessage(received_s=hours.now_s()))
        self._recorded = RecordingLog()
        clock = Clock(now_s=hours.now_s, draw=lambda: draw)
        shared = dataclasses.replace(self.delivery.shared, log=self._recorded, clock=clock)
        folds: Folds[FirstLine] | None = Folds() if is_folding else None
        self.log = OutcomeLog(shared, folds=folds, **options)

    def settle(self, verdict: Verdict = REQUEUE, error: Exception | None = None) -> None:
        self.log.settled(self.delivery, verdict, error)

    @property
    def written(self) -> list[tuple[str, str]]:
        return [(level, event) for level, event, _ in self._recorded.lines]

    @property
    def last(self) -> dict[str, Any]:
        return self._recorded.lines[-1][2]


class TestRepeats:
    async def test_of_like_failures_one_is_written_and_a_timer_writes_the_count(
        self, hours: VirtualClock
    ) -> None:
        lines = Lines(hours)
        for error in [raised(str(n)) for n in range(50)]:
            lines.settle(error=error)
        assert lines.written == [("warning", "message_settled")]
        await passed(hours, FIRST_WINDOW_S)
        assert lines.written == [("warning", "message_settled"), ("warning", "outcomes_repeated")]
        assert lines.last == {
            "topic": "consumed",
            "channel": "work",
            "handler": "Scripted",
            "outcome": "requeue",
            "reason": "error",
            "error_type": "ValueError",
            "at": lines.last["at"],
            "detail": "ValueError: no",
            "count": 49,
            "for_s": FIRST_WINDOW_S,
        }

    async def test_each_longer_window_has_its_count(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for _ in range(3):
            for error in [raised(), raised()]:
                lines.settle(error=error)
            await passed(hours, 2 * FIRST_WINDOW_S)
        lines.log.close()
        assert [event for _, event in lines.written] == ["message_settled", *["outcomes_repeated"] * 3]

    async def test_a_new_kind_does_not_wait_for_the_long_window_of_another(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for error in [raised(), raised()]:
            lines.settle(error=error)
        await passed(hours, FIRST_WINDOW_S)
        lines.settle(error=raised())  # in a window of twice that length
        for error in [raised(kind=KeyError), raised(kind=KeyError)]:
            lines.settle(error=error)
        await passed(hours, FIRST_WINDOW_S)
        assert (lines.last["error_type"], lines.last["count"]) == ("KeyError", 1)
        await passed(hours, FIRST_WINDOW_S)
        assert (lines.last["error_type"], lines.last["count"]) == ("ValueError", 1)
        assert timers() == []

    async def test_the_next_line_writes_a_count_that_is_due(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for error in [raised(), raised()]:
            lines.settle(error=error)
        hours._now_s += FIRST_WINDOW_S  # a blocked loop: the timer is late
        lines.settle(DISCARD)
        assert [event for _, event in lines.written] == [
            "message_settled",
            "outcomes_repeated",
            "message_settled",
        ]
        lines.log.close()

    async def test_the_end_writes_the_counts_that_are_left(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for error in [raised(), raised(), raised()]:
            lines.settle(error=error)
        lines.log.close()
        assert lines.last["count"] == 2
        assert timers() == []

    @pytest.mark.parametrize(
        ("others", "written"),
        [
            pytest.param([(REQUEUE, raised(kind=KeyError))], 2, id="another type of error"),
            pytest.param([(REQUEUE, elsewhere())], 2, id="another place"),
            pytest.param([(TIMEOUT, raised())], 2, id="another reason"),
            pytest.param([(DISCARD, None)], 2, id="another outcome"),
            pytest.param([(REQUEUE, raised("other text"))], 1, id="another text is no other kind"),
        ],
    )
    async def test_what_makes_a_kind(
        self, hours: VirtualClock, others: list[tuple[Verdict, Exception | None]], written: int
    ) -> None:
        lines = Lines(hours)
        for verdict, error in [(REQUEUE, raised()), *others]:
            lines.settle(verdict, error)
        assert len(lines.written) == written
        lines.log.close()

    async def test_too_many_kinds_are_counted_together(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for n in range(MOST_KINDS + 2):
            lines.settle(error=raised(kind=type(f"Error{n}", (Exception,), {})))
        assert len(lines.written) == MOST_KINDS
        lines.log.close()
        assert (lines.last["handler"], lines.last["outcome"], lines.last["count"]) == (
            "Scripted",
            "other outcomes",
            2,
        )

    async def test_repeats_of_no_fault_are_no_warning(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for _ in range(3):
            lines.settle(DISCARD)
        lines.log.close()
        assert lines.written == [("info", "message_settled"), ("info", "outcomes_repeated")]

    async def test_messages_that_are_kept_in_an_outage_are_folded_too(self, hours: VirtualClock) -> None:
        lines = Lines(hours)
        for error in [raised(), raised(), raised()]:
            lines.log.kept(lines.delivery, "breaker_open", error)
        lines.log.close()
        assert lines.written == [("info", "message_kept"), ("info", "outcomes_repeated")]
        assert (lines.last["outcome"], lines.last["reason"]) == ("kept", "breaker_open")

    async def test_without_folding_every_failure_is_a_line(self, hours: VirtualClock) -> None:
        lines = Lines(hours, is_folding=False)
        for error in [raised(), raised(), raised()]:
            lines.settle(error=error)
        lines.log.close()
        assert lines.written == [("warning", "message_settled")] * 3


class TestSuccess:
    @pytest.mark.parametrize(
        ("options", "unlogged"),
        [
            pytest.param({}, math.inf, id="by default none is logged"),
            pytest.param({"log_success": True}, 0.0, id="all of them when asked"),
            pytest.param(
                {"log_success": True, "success_ratio": 0.5, "draw": 0.4}, 0.0, id="the next one is drawn"
            ),
            pytest.param(
                {"log_success": True, "success_ratio": 0.5, "draw": 0.9}, 3.0, id="a later one is drawn"
            ),
            pytest.param({"log_success": True, "success_ratio": 0.0}, math.inf, id="a share of nothing"),
            pytest.param({"success_ratio": 1.0}, math.inf, id="a share of those that are not asked for"),
        ],
    )
    async def test_a_share_is_logged(
        self, hours: VirtualClock, options: dict[str, Any], unlogged: float
    ) -> None:
        assert Lines(hours, **options).log.unlogged() == unlogged

    @pytest.mark.parametrize("count", [1, 7], ids=["one after another", "together"])
    @pytest.mark.parametrize(
        "handler",
        [
            pytest.param(asynchronous(lambda _event, _ctx: turns(0)), id="that does not wait"),
            pytest.param(asynchronous(lambda _event, _ctx: turns(2)), id="that waits"),
            pytest.param(plain(lambda _event, _ctx: None), id="in threads"),
        ],
    )
    async def test_however_messages_are_handled_the_drawn_ones_are_logged(
        self, handler: Any, count: int
    ) -> None:
        bench = Bench(handler, log_success=True, success_ratio=0.5, draw=0.75)  # leaves out two each time
        for _ in range(21 // count):
            bench.receive_chunk(*[bench.message() for _ in range(count)])
            await bench.idle()
        assert bench.meter.outcomes == {"success": 21}
        assert [line["outcome"] for line in bench.log.settled()] == ["success"] * 7

    async def test_successes_are_not_folded(self, hours: VirtualClock) -> None:
        lines = Lines(hours, log_success=True)
        for _ in range(3):
            lines.settle(SUCCESS)
        assert lines.written == [("info", "message_settled")] * 3

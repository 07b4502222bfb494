"""Attempts: which failures are tried again, for how long, and that no wait outlasts the handler."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
import structlog

from nsqkit.errors import BreakerOpenError
from nsqkit.handler.context import Context
from nsqkit.handler.retrying import retrying
from nsqkit.policy.retry import ADDITIVE_SHARE
from tests.waiting import PATIENCE_S


class Sleeps(list[float]):
    """The waits that were asked for, none of which takes place; a clock that they move."""

    @property
    def now_s(self) -> float:
        return sum(self)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    sleeps = Sleeps()

    async def sleep(delay_s: float) -> None:  # in place of asyncio's
        sleeps.append(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr("time.sleep", sleeps.append)
    return sleeps


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logged:
        yield logged


def context(sleeps: Sleeps, deadline_s: float = float("inf")) -> Context:
    return Context(deadline_s=deadline_s, now_s=lambda: sleeps.now_s)


class Call:
    """A call that fails so often, by these errors in turn, and then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def run(ctx: Context, call: Call, **options: Any) -> str | None:
    async for attempt in retrying(ctx, **({"on": OSError} | options)):
        with attempt:
            return call()
    return None


def run_plain(ctx: Context, call: Call, **options: Any) -> str | None:
    for attempt in retrying(ctx, **({"on": OSError} | options)):
        with attempt:
            return call()
    return None


async def test_a_call_that_succeeds_is_made_once(sleeps: Sleeps) -> None:
    call = Call()
    assert await run(context(sleeps), call) == "done"
    assert (call.made, sleeps) == (1, [])


async def test_a_failure_is_tried_again(sleeps: Sleeps) -> None:
    call = Call(OSError(), ConnectionError())
    assert await run(context(sleeps), call) == "done"
    assert call.made == 3


def test_in_a_plain_handler_too(sleeps: Sleeps) -> None:
    call = Call(OSError(), ConnectionError())
    assert run_plain(context(sleeps), call) == "done"
    assert (call.made, len(sleeps)) == (3, 2)


async def test_waits_double_up_to_the_longest_and_are_never_shorter(sleeps: Sleeps) -> None:
    call = Call(*[OSError()] * 5)
    await run(context(sleeps), call, attempts=6, wait_s=0.5, max_wait_s=3)
    for waited_s, least_s in zip(sleeps, [0.5, 1, 2, 3, 3], strict=True):
        assert least_s <= waited_s <= least_s * (1 + ADDITIVE_SHARE)


async def test_the_last_error_is_raised_as_it_is(sleeps: Sleeps) -> None:
    last = ConnectionError("last")
    call = Call(OSError("first"), OSError("second"), last)
    with pytest.raises(ConnectionError) as caught:
        await run(context(sleeps), call)
    assert caught.value is last
    assert (call.made, len(sleeps)) == (3, 2)


@pytest.mark.parametrize(
    ("error", "on"),
    [
        pytest.param(ValueError(), OSError, id="another error"),
        pytest.param(ValueError(), (OSError, KeyError), id="none of several"),
        pytest.param(BreakerOpenError("bank", 5.0), Exception, id="a breaker that is open"),
        pytest.param(KeyboardInterrupt(), Exception, id="the end of the process"),
        pytest.param(asyncio.CancelledError(), Exception, id="a cancelled handler"),
    ],
)
async def test_other_errors_are_raised_at_once(sleeps: Sleeps, error: BaseException, on: Any) -> None:
    call = Call(error)
    with pytest.raises(type(error)) as caught:
        await run(context(sleeps), call, on=on)
    assert caught.value is error
    assert (call.made, sleeps) == (1, [])


async def test_one_of_several_error_types_is_enough(sleeps: Sleeps) -> None:
    assert await run(context(sleeps), Call(KeyError()), on=(OSError, KeyError)) == "done"


async def test_no_wait_outlasts_the_handler(sleeps: Sleeps) -> None:
    error = OSError("last")
    call = Call(OSError(), OSError(), error)
    with pytest.raises(OSError, match="last") as caught:
        await run(context(sleeps, deadline_s=4.0), call, attempts=100, wait_s=1, max_wait_s=60)
    assert caught.value is error
    assert call.made == 3
    assert sleeps.now_s < 4.0


async def test_without_time_nothing_is_tried_again(sleeps: Sleeps) -> None:
    call = Call(OSError("only"))
    with pytest.raises(OSError, match="only"):
        await run(context(sleeps, deadline_s=0.0), call)
    assert (call.made, sleeps) == (1, [])


def test_a_cancelled_plain_handler_tries_no_more(sleeps: Sleeps) -> None:
    ctx = context(sleeps)
    ctx.cancelled = True
    with pytest.raises(OSError, match="only"):
        run_plain(ctx, Call(OSError("only")))
    assert sleeps == []


async def test_a_retried_failure_is_one_redacted_line_at_debug_level(
    sleeps: Sleeps, logged: list[Any]
) -> None:
    await run(context(sleeps), Call(OSError("bob@example.org is away")), wait_s=900, max_wait_s=900)
    (line,) = logged
    assert (line["log_level"], line["event"], line["failures"]) == ("debug", "call_failed", 1)
    assert line["error"] == "OSError: [redacted] is away"
    assert line["wait_s"] == round(sleeps[0], 3)


async def test_staminas_own_switches_for_tests_work(sleeps: Sleeps) -> None:
    with stamina.set_testing(testing=True, attempts=2):
        assert await run(context(sleeps), Call(OSError()), wait_s=900, max_wait_s=900) == "done"
    assert sleeps == [0.0]


def test_staminas_own_log_and_counters_are_off() -> None:
    """In a process of its own, where nothing has set them yet."""
    code = (
        "import prometheus_client, structlog, stamina, nsqkit; nsqkit.retrying;"
        "print(stamina.instrumentation.get_on_retry_hooks())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout == "()\n"


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        pytest.param({"attempts": 0}, ValueError, "retrying(attempts=0): not in 1..100", id="no attempt"),
        pytest.param(
            {"attempts": None}, TypeError, "retrying(attempts=None): give a whole number", id="no number"
        ),
        pytest.param({"wait_s": 0}, ValueError, "retrying(wait_s=0): must be above 0", id="no wait"),
        pytest.param(
            {"wait_s": 901, "max_wait_s": 901},
            ValueError,
            "retrying(wait_s=901): must be 900 or less",
            id="a wait longer than a handler may run",
        ),
        pytest.param(
            {"wait_s": 9, "max_wait_s": 5},
            ValueError,
            "retrying(max_wait_s=5): must be 9 or more",
            id="a longest wait below the first",
        ),
        pytest.param(
            {"on": "OSError"},
            TypeError,
            "retrying(on=…): 'OSError' is not an exception class",
            id="a type by its name",
        ),
        pytest.param(
            {"on": [OSError]},
            TypeError,
            "retrying(on=…): [<class 'OSError'>] is not an exception class",
            id="a list",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        retrying(Context(), **({"on": OSError} | options))
    assert str(caught.value) == problem

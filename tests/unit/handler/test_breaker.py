"""Breakers around calls: which ends count, that refused calls are not made, on the loop and in threads."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from threading import Thread
from typing import Any

import pytest

from nsqkit.errors import BreakerOpenError
from nsqkit.handler.breaker import Breaker, breaker_states
from nsqkit.handler.recorder import breaker_watch
from nsqkit.policy.breaker import BreakerState
from tests.waiting import PATIENCE_S, turns


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("warehouse", failures=2, open_s=30.0, now_s=clock)


def fail(breaker: Breaker, error: BaseException | None = None) -> None:
    with pytest.raises(type(error or OSError())), breaker:
        raise error or OSError("down")


def opened(breaker: Breaker) -> Breaker:
    while breaker.state != "open":
        fail(breaker)
    return breaker


def test_a_call_goes_through_while_it_is_closed(breaker: Breaker) -> None:
    with breaker as entered:
        assert entered is breaker
    assert breaker.state == "closed"


def test_a_refused_call_is_not_made_and_says_how_long(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 12
    made: list[int] = []
    with pytest.raises(BreakerOpenError) as caught, breaker:
        made.append(1)
    assert made == []
    assert caught.value.args == ("warehouse", 18.0)


def test_after_its_time_one_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 30
    assert breaker.state == "half_open"
    with breaker:
        pass
    assert breaker.state == "closed"


def test_after_its_time_one_failure_opens_it_again(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 30
    fail(breaker)
    assert breaker.state == "open"


async def test_it_is_an_async_block_too(breaker: Breaker) -> None:
    async with breaker as entered:
        assert entered is breaker
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            async with breaker:
                raise OSError("down")
    with pytest.raises(BreakerOpenError):
        async with breaker:
            pytest.fail("called")


class SkuError(Exception):
    pass


class BusyError(OSError):
    pass


@pytest.mark.parametrize(
    ("options", "error", "state"),
    [
        pytest.param({}, ValueError(), "open", id="any exception is a failure"),
        pytest.param({"on": (OSError,)}, ConnectionError(), "open", id="what derives from one is one"),
        pytest.param({"on": (OSError,)}, SkuError(), "closed", id="another one is an answer"),
        pytest.param({"ignore": (SkuError,)}, SkuError(), "closed", id="an ignored one is an answer"),
        pytest.param(
            {"on": (OSError,), "ignore": (BusyError,)}, BusyError(), "closed", id="ignored though included"
        ),
        pytest.param({}, asyncio.CancelledError(), "closed", id="a cancelled call says nothing"),
        pytest.param({}, KeyboardInterrupt(), "closed", id="nor does the end of the process"),
        pytest.param({}, BreakerOpenError("bank", 5.0), "closed", id="nor what another breaker refused"),
        pytest.param(
            {"ignore": (SkuError,)}, ExceptionGroup("g", [SkuError(), OSError()]), "open", id="one of a group"
        ),
        pytest.param(
            {"ignore": (SkuError,)},
            ExceptionGroup("g", [SkuError(), BreakerOpenError("bank", 5.0)]),
            "closed",
            id="a group of those is none",
        ),
    ],
)
def test_which_errors_open_it(
    clock: Clock, options: dict[str, Any], error: BaseException, state: str
) -> None:
    breaker = Breaker("warehouse", failures=1, now_s=clock, **options)
    fail(breaker, error)
    assert breaker.state == state


@pytest.mark.parametrize(
    ("error", "state"),
    [
        pytest.param(SkuError(), "closed", id="an answer proves that the dependency works"),
        pytest.param(asyncio.CancelledError(), "half_open", id="a cancelled trial leaves room for another"),
        pytest.param(
            BreakerOpenError("bank", 5.0), "half_open", id="so does one that another breaker refused"
        ),
    ],
)
def test_what_a_trial_proves(clock: Clock, error: BaseException, state: str) -> None:
    breaker = opened(Breaker("warehouse", failures=1, ignore=(SkuError,), now_s=clock))
    clock.now_s += 30
    fail(breaker, error)
    assert breaker.state == state
    with breaker:
        pass


async def test_only_one_trial_is_made_at_a_time(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now_s += 30
    answered = asyncio.Event()

    async def call() -> str:
        async with breaker:
            await answered.wait()
            return "made"

    calls = [asyncio.create_task(call()) for _ in range(3)]
    await turns()
    answered.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(end) if isinstance(end, str) else type(end) for end in ends] == [
        "made",
        BreakerOpenError,
        BreakerOpenError,
    ]
    assert breaker.state == "closed"


async def test_calls_that_overlap_are_told_apart(breaker: Breaker, clock: Clock) -> None:
    """The one that began before it opened does not close it when it succeeds at last."""
    answered = asyncio.Event()

    async def slow() -> None:
        async with breaker:
            await answered.wait()

    task = asyncio.create_task(slow())
    await turns()
    opened(breaker)
    answered.set()
    await task
    assert breaker.state == "open"


def test_blocks_of_different_breakers_nest(breaker: Breaker, clock: Clock) -> None:
    bank = Breaker("bank", failures=1, now_s=clock)
    with breaker:
        fail(bank)
    assert (breaker.state, bank.state) == ("closed", "open")
    with pytest.raises(BreakerOpenError), breaker, bank:
        pytest.fail("called")
    assert breaker.state == "closed"


def test_a_breaker_nests_in_itself(breaker: Breaker) -> None:
    with pytest.raises(OSError, match="down"), breaker, breaker:
        raise OSError("down")
    assert breaker.state == "open"


def test_a_block_leaves_nothing_behind_in_its_context(breaker: Breaker) -> None:
    """The runtime gives a delivery whose handler left a context variable set a task of its own."""
    before = copy_context()
    with breaker:
        assert copy_context() != before
    fail(breaker)
    assert copy_context() == before


def test_a_block_that_ends_elsewhere_is_refused(breaker: Breaker) -> None:
    copy_context().run(breaker.__enter__)
    with pytest.raises(
        RuntimeError, match=r"^Breaker\('warehouse'\): a block must end in the task or thread"
    ):
        breaker.__exit__(None, None, None)
    bank = Breaker("bank")
    with bank, pytest.raises(RuntimeError, match="must end in the task"):
        breaker.__exit__(None, None, None)


def test_threads_share_it() -> None:
    breaker = Breaker("warehouse", failures=200)

    def work() -> None:
        for _ in range(50):
            fail(breaker)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert breaker.state == "open"


async def test_it_follows_the_event_loops_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test under virtual time need not wait."""
    breaker = opened(Breaker("warehouse", failures=1, open_s=30))
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s + 30)
    assert breaker.state == "half_open"


# The decorator


def test_every_call_of_a_decorated_function_is_one_call(breaker: Breaker) -> None:
    @breaker
    def reserve(sku: str, *, n: int = 1) -> str:
        """Reserve."""
        if n < 0:
            raise OSError("down")
        return sku * n

    assert reserve("a", n=2) == "aa"
    assert (reserve.__name__, reserve.__doc__) == ("reserve", "Reserve.")
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            reserve("a", n=-1)
    with pytest.raises(BreakerOpenError):
        reserve("a")


async def test_a_coroutine_function_is_guarded_until_it_is_done(breaker: Breaker) -> None:
    @breaker
    async def reserve(sku: str) -> str:
        await turns()
        if not sku:
            raise OSError("down")
        return sku

    assert asyncio.iscoroutinefunction(reserve)
    assert await reserve("a") == "a"
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            await reserve("")
    with pytest.raises(BreakerOpenError):
        await reserve("a")


def _generates() -> Iterator[int]:
    yield 1


async def _generates_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [_generates, _generates_async])
def test_a_generator_function_is_refused(breaker: Breaker, function: Callable[..., Any]) -> None:
    with pytest.raises(
        TypeError, match=r"Breaker\('warehouse'\) around _generates.*: put a with block inside"
    ):
        breaker(function)


# What can be seen, and what cannot be made


def test_the_states_of_all_breakers_in_use_are_known(clock: Clock) -> None:
    first = opened(Breaker("seen b", failures=1, now_s=clock))
    second = Breaker("seen a")

    def seen() -> dict[str, str]:
        return {name: str(state) for name, state in breaker_states().items() if name.startswith("seen")}

    assert list(seen().items()) == [("seen a", "closed"), ("seen b", "open")]
    del first
    gc.collect()
    assert seen() == {"seen a": "closed"}
    assert second.state == "closed"


@pytest.mark.parametrize("turned", [False, True])
def test_of_several_with_one_name_the_gravest_is_seen(clock: Clock, *, turned: bool) -> None:
    kept = [Breaker("twins", failures=1, now_s=clock) for _ in range(2)]
    opened(kept[turned])
    assert breaker_states()["twins"] == "open"
    clock.now_s += 30
    assert breaker_states()["twins"] == "half_open"


@pytest.mark.parametrize(
    ("name", "options", "error", "problem"),
    [
        pytest.param(
            "", {}, TypeError, "Breaker(name=''): give the name of the dependency as a string", id="no name"
        ),
        pytest.param(
            7, {}, TypeError, "Breaker(name=7): give the name of the dependency as a string", id="a number"
        ),
        pytest.param(
            "a", {"failures": 0}, ValueError, "Breaker(failures=0): not in 1..1000000", id="no failure"
        ),
        pytest.param("a", {"open_s": 0}, ValueError, "Breaker(open_s=0): must be above 0", id="never open"),
        pytest.param("a", {"trials": 0}, ValueError, "Breaker(trials=0): not in 1..1000000", id="no trial"),
        pytest.param(
            "a",
            {"on": OSError},
            TypeError,
            "Breaker(on=<class 'OSError'>): give a tuple of exception types, (SomeError,)",
            id="one type without a tuple",
        ),
        pytest.param(
            "a",
            {"ignore": ("OSError",)},
            TypeError,
            "Breaker(ignore=…): 'OSError' is not an exception class",
            id="a type by its name",
        ),
    ],
)
def test_a_breaker_that_cannot_be_meant_is_refused(
    name: Any, options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        Breaker(name, **options)
    assert str(caught.value) == problem


def test_whoever_watches_the_calls_of_a_task_learns_each_change_once(breaker: Breaker, clock: Clock) -> None:
    changes: list[tuple[str, BreakerState]] = []
    token = breaker_watch.set(lambda name, state: changes.append((name, state)))
    try:
        fail(breaker)
        fail(breaker)
        with pytest.raises(BreakerOpenError), breaker:
            pass
        clock.now_s += 30
        with breaker:
            pass
        with breaker:
            pass
    finally:
        breaker_watch.reset(token)
    states = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)
    assert changes == [("warehouse", state) for state in states]

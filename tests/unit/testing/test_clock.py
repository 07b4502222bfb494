"""Virtual time: it passes only when nothing else can happen, and what is real is waited for."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nsqkit.testing import HarnessError, NeedsVirtualTimeError
from nsqkit.testing.clock import MAX_WAIT_S, RealClock, VirtualClock
from tests.waiting import PATIENCE_S, turns

LONG_S = 3600.0


class Busy:
    """Whether something runs, as the test says."""

    def __init__(self) -> None:
        self.is_busy = False

    def __call__(self) -> bool:
        return self.is_busy


@pytest.fixture
async def busy() -> Busy:
    return Busy()


@pytest.fixture
async def clock(busy: Busy) -> Iterator[VirtualClock]:  # type: ignore[misc]  # pytest-asyncio's
    clock = VirtualClock(busy, outside_wait_s=PATIENCE_S)
    clock.start()
    yield clock
    clock.stop()


def when_waiting(clock: VirtualClock, act: Callable[[], object]) -> threading.Thread:
    """Start a thread that acts once the loop really waits, and return it."""
    waiting = threading.Event()
    poll = clock._poll

    def watched(timeout: float | None) -> object:
        if timeout != 0:
            waiting.set()
        return poll(timeout)

    def work() -> None:
        assert waiting.wait(PATIENCE_S)
        act()

    clock._poll = watched
    thread = threading.Thread(target=work)
    thread.start()
    return thread


class TestJumps:
    async def test_a_long_sleep_ends_at_its_time_and_takes_none(self, clock: VirtualClock) -> None:
        began_s = time.monotonic()
        await asyncio.sleep(24 * LONG_S * 3)  # virtual time is the case
        assert clock.elapsed_s == 24 * LONG_S * 3
        assert time.monotonic() - began_s < LONG_S

    async def test_timers_fire_in_their_order_each_at_its_time(self, clock: VirtualClock) -> None:
        fired: list[tuple[str, float]] = []

        async def fire(name: str, after_s: float) -> None:
            await asyncio.sleep(after_s)  # virtual time is the case
            fired.append((name, clock.elapsed_s))

        await asyncio.gather(fire("c", 300), fire("a", 0.001), fire("b", 60))
        assert fired == [("a", 0.001), ("b", 60.0), ("c", 300.0)]

    async def test_it_stands_still_while_anything_can_run(self, clock: VirtualClock) -> None:
        timer = asyncio.get_running_loop().call_later(0.000001, pytest.fail)
        await turns(1000)
        timer.cancel()
        assert clock.elapsed_s == 0

    async def test_a_timeout_expires_at_its_time(self, clock: VirtualClock) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.Event().wait()
        assert clock.elapsed_s == 10

    async def test_the_wall_clock_goes_with_it(self, clock: VirtualClock) -> None:
        before_ns = clock.now_ns()
        await asyncio.sleep(1.5)  # virtual time is the case
        assert clock.now_ns() - before_ns == 1_500_000_000


class TestOutside:
    """What is outside of the loop takes real time, and virtual time waits for it."""

    async def test_a_thread_of_the_loops_is_waited_for(self, clock: VirtualClock) -> None:
        gate = threading.Event()
        opener = when_waiting(clock, gate.set)
        async with asyncio.timeout(PATIENCE_S):
            assert await asyncio.to_thread(gate.wait, PATIENCE_S)
        opener.join()
        assert clock.elapsed_s == 0

    async def test_so_is_a_thread_of_somebody_elses(self, clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        thread = when_waiting(clock, lambda: loop.call_soon_threadsafe(answer.set_result, 42))
        async with asyncio.timeout(PATIENCE_S):
            assert await answer == 42
        thread.join()
        assert clock.elapsed_s == 0

    async def test_so_is_a_socket(self, clock: VirtualClock) -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        thread = when_waiting(clock, lambda: theirs.send(b"answer"))
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read(6) == b"answer"
        assert clock.elapsed_s == 0
        thread.join()
        theirs.close()
        writer.close()
        await writer.wait_closed()

    async def test_but_a_silent_socket_not_for_ever(self, busy: Busy) -> None:
        clock = VirtualClock(busy, outside_wait_s=0.001)
        clock.start()
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LONG_S):
                await reader.read(1)
        assert clock.elapsed_s == LONG_S
        clock.stop()
        theirs.close()
        writer.close()
        await writer.wait_closed()

    async def test_a_thread_that_is_done_is_waited_for_no_more(self, clock: VirtualClock) -> None:
        """Its pool keeps it, and each jump would cost patience."""
        await asyncio.to_thread(time.monotonic)
        clock._outside_wait_s = LONG_S
        await asyncio.sleep(1)  # virtual time is the case
        assert clock.elapsed_s == 1


class TestRunUntil:
    async def test_it_returns_when_nothing_is_left(self, clock: VirtualClock) -> None:
        await clock.run_until(lambda: False)
        assert clock.elapsed_s == 0

    async def test_it_runs_what_can_run_first(self, clock: VirtualClock) -> None:
        done: list[str] = []

        async def work() -> None:
            await turns(10)
            done.append("worked")

        task = asyncio.create_task(work())
        await clock.run_until(lambda: True)
        assert done == ["worked"]
        await task

    async def test_time_stands_still_if_none_was_asked_for(self, clock: VirtualClock) -> None:
        timer = asyncio.get_running_loop().call_later(1, pytest.fail)
        await clock.run_until(lambda: True)
        timer.cancel()
        assert clock.elapsed_s == 0

    async def test_all_that_was_asked_for_passes_and_not_more(self, clock: VirtualClock) -> None:
        at_s: list[float] = []
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(after_s, lambda: at_s.append(clock.elapsed_s)) for after_s in (1, 30, 31)]
        clock.advance(10)
        clock.advance(20)
        await clock.run_until(lambda: True)
        assert (at_s, clock.elapsed_s) == ([1.0, 30.0], 30.0)
        timers[-1].cancel()

    async def test_it_jumps_until_all_is_done(self, clock: VirtualClock) -> None:
        task = asyncio.create_task(asyncio.sleep(LONG_S))  # virtual time is the case
        await clock.run_until(task.done)
        assert clock.elapsed_s == LONG_S

    async def test_what_is_busy_goes_on_though_all_is_said_to_be_done(
        self, clock: VirtualClock, busy: Busy
    ) -> None:
        async def work() -> None:
            await asyncio.sleep(10)  # virtual time is the case
            busy.is_busy = False

        busy.is_busy = True
        task = asyncio.create_task(work())
        await clock.run_until(lambda: True)
        assert clock.elapsed_s == 10
        await task

    async def test_what_is_not_busy_is_not_waited_for_outside(self, clock: VirtualClock) -> None:
        """A pool of connections lies idle while only retries are left."""
        clock._outside_wait_s = LONG_S
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=ours)
        clock.advance(LONG_S)
        await clock.run_until(lambda: True)
        theirs.close()
        writer.close()
        await writer.wait_closed()


class TestLoop:
    async def test_the_loop_gets_its_own_time_back(self, busy: Busy) -> None:
        loop = asyncio.get_running_loop()
        own = (loop.time.__func__, loop.run_in_executor.__func__)  # type: ignore[attr-defined]
        clock = VirtualClock(busy)
        clock.start()
        await asyncio.sleep(LONG_S)  # virtual time is the case
        clock.stop()
        assert (loop.time.__func__, loop.run_in_executor.__func__) == own  # type: ignore[attr-defined]
        assert abs(loop.time() - time.monotonic()) < PATIENCE_S

    async def test_a_loop_has_one_at_a_time(self, clock: VirtualClock, busy: Busy) -> None:
        with pytest.raises(HarnessError, match="this event loop already has a harness"):
            VirtualClock(busy)

    async def test_another_kind_of_loop_is_refused_by_name(
        self, busy: Busy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class UvLoop:
            pass

        monkeypatch.setattr(asyncio, "get_running_loop", UvLoop)
        with pytest.raises(HarnessError, match=r"asyncio's own event loop, not .*UvLoop"):
            VirtualClock(busy)


@pytest.mark.parametrize("for_s", [-1, float("inf"), float("nan")])
async def test_time_goes_forward_only(for_s: float, busy: Busy) -> None:
    for clock in (VirtualClock(busy), RealClock()):
        with pytest.raises(ValueError, match="give seconds, 0 or more"):
            clock.advance(for_s)


class TestReal:
    async def test_a_little_time_really_passes(self) -> None:
        clock = RealClock()
        clock.advance(0.002)
        await clock.wait()
        assert clock.elapsed_s >= 0.002

    async def test_much_is_refused_with_its_sum(self) -> None:
        clock = RealClock()
        clock.advance(MAX_WAIT_S)
        with pytest.raises(NeedsVirtualTimeError, match=r"305 s of real time would have to pass"):
            clock.advance(300)

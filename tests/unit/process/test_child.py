"""ChildWorker: the link between a worker's process and its parent, from both ends."""

import asyncio
import os
import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from nsqkit import Settings
from nsqkit.process.child import ChildWorker, ParentLink, Plan

PLAN = Plan(("shop.parcels",), Settings(nsqd=("h:4150",), auth_secret="open sesame", app={"ratio": 0.5}))
BEGIN = (
    "import signal, sys, time; from nsqkit.process.child import ParentLink as P; parent = P(int(sys.argv[1]))"
)
TURN = "plan = parent.plan(); runs = parent.wait_turn([('t', 'c')])"


class Starter:
    """Starts processes of some lines of Python, and ends them."""

    def __init__(self) -> None:
        self.started: list[ChildWorker] = []

    async def __call__(self, *lines: str) -> ChildWorker:
        started = await ChildWorker.start([sys.executable, "-c", "\n".join((BEGIN, *lines))], PLAN)
        self.started.append(started)
        return started


@pytest.fixture
async def start() -> AsyncIterator[Starter]:
    starter = Starter()
    yield starter
    for each in starter.started:
        each.signal(signal.SIGKILL)
        await each.stop()


class TestChildWorker:
    """The parent's end."""

    async def test_a_process_says_what_it_subscribes_to_and_runs_when_it_is_told_to(
        self, start: Starter
    ) -> None:
        worker = await start(TURN, "sys.exit(7 if runs else 8)")
        assert await worker.loaded() == [("t", "c")]
        worker.run()
        assert await worker.wait() == 7
        assert await worker.stop() == 7

    async def test_the_plan_arrives_whole_and_not_by_the_command_line(self, start: Starter) -> None:
        worker = await start(
            "plan = parent.plan()",
            "given = plan.settings",
            "assert given.auth_secret not in str(sys.orig_argv)",
            "parent.wait_turn([(given.auth_secret, str([plan.targets, given.app['ratio'], given.nsqd]))])",
        )
        assert await worker.loaded() == [("open sesame", "[('shop.parcels',), 0.5, ('h:4150',)]")]

    @pytest.mark.parametrize("line", ["sys.exit(2)", "parent.plan(); sys.exit(2)"])
    async def test_one_that_ends_before_it_has_loaded_is_told_apart(self, start: Starter, line: str) -> None:
        worker = await start(line)
        assert await worker.loaded() is None
        assert await worker.wait() == 2
        assert await worker.stop() == 0, "it did not run"

    async def test_one_that_does_not_run_yet_is_ended_at_once_whatever_it_does(self, start: Starter) -> None:
        worker = await start("while True: signal.pause()")
        assert await worker.stop() == 0
        assert await worker.stop() == 0, "again"

    async def test_one_that_runs_is_asked_to_end_and_its_exit_code_returned(self, start: Starter) -> None:
        worker = await start(
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))", TURN, "while True: signal.pause()"
        )
        await worker.loaded()
        worker.run()
        assert await worker.stop() == 5

    async def test_one_that_ends_by_the_signal_itself_has_ended_well(self, start: Starter) -> None:
        """It had not come to where it listens for signals, and so had nothing in hand."""
        worker = await start(TURN, "while True: signal.pause()")
        await worker.loaded()
        worker.run()
        assert await worker.stop() == 0

    async def test_ctrl_c_is_left_to_the_parent(self, start: Starter) -> None:
        worker = await start(TURN, "sys.exit(7)")
        await worker.loaded()
        worker.signal(signal.SIGINT)
        worker.run()
        assert await worker.wait() == 7

    async def test_several_that_start_at_once_leave_the_parents_signals_as_they_were(
        self, start: Starter
    ) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        await asyncio.gather(*(start("while True: signal.pause()") for _ in range(3)))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before

    async def test_nothing_is_left_of_one_that_cannot_be_started(self) -> None:
        with pytest.raises(FileNotFoundError):
            await ChildWorker.start(["no-such-program"], PLAN)


class TestParentLink:
    """The worker's end, in this process."""

    @pytest.fixture
    async def link(self) -> AsyncIterator[tuple[socket.socket, ParentLink]]:
        ours, theirs = socket.socketpair()
        with ours, ParentLink(theirs.detach()) as parent:
            yield ours, parent

    async def test_a_parent_that_is_gone_has_no_plan(self, link: tuple[socket.socket, ParentLink]) -> None:
        link[0].close()
        with pytest.raises(EOFError):
            link[1].plan()

    async def test_a_parent_that_is_gone_wants_nothing_to_run(
        self, link: tuple[socket.socket, ParentLink]
    ) -> None:
        pickled = pickle.dumps(PLAN)
        link[0].sendall(len(pickled).to_bytes(4, "big") + pickled)
        assert link[1].plan() == PLAN
        link[0].close()
        assert not link[1].wait_turn([("t", "c")])

    async def test_the_link_is_not_passed_on_to_programs_that_a_handler_starts(
        self, link: tuple[socket.socket, ParentLink]
    ) -> None:
        assert not os.get_inheritable(link[1]._link.fileno())

    async def test_when_the_parent_ends_the_process_is_told_to_drain(
        self, link: tuple[socket.socket, ParentLink]
    ) -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        link[0].sendall(b"g")
        assert link[1].wait_turn([])
        assert not told.is_set()
        link[0].close()
        await told.wait()

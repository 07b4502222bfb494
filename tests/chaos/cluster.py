"""The cluster: some nsqd and a nsqlookupd as processes, and what nsqd says about its messages."""

import asyncio
import json
import shutil
import signal
import string
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nsqkit.nsq.http import NsqdHttp, fetch
from tests.chaos.errors import ChaosFailedError
from tests.chaos.orders import CHANNEL
from tests.chaos.programs import Program, Programs, answering, nsq_program
from tests.chaos.proxy import Proxy
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

_QUIET_LOOKS = 5  # /stats is not atomic
_LOOK_S = 0.05


class Node:
    """One nsqd on fixed ports and a fixed data path, behind a proxy whose port it tells nsqlookupd.

    Args:
        name: What to call it.
        programs: Of the phase.
        folder: Its data path.
        lookupd: ``host:port`` of nsqlookupd's TCP port.
        max_lease_s: nsqd's max-msg-timeout, in whole seconds.
    """

    def __init__(self, name: str, programs: Programs, folder: Path, lookupd: str, max_lease_s: int) -> None:
        tcp_port, http_port = free_port(), free_port()
        self.name = name
        self.proxy = Proxy(free_port(), tcp_port)
        self.address = f"127.0.0.1:{self.proxy.port}"
        self.direct_address = f"127.0.0.1:{tcp_port}"
        self.http_address = f"127.0.0.1:{http_port}"
        self.is_up = asyncio.Event()
        self.publishing = asyncio.Lock()
        self.folder = folder
        self._one_fault = asyncio.Lock()
        self._programs = programs
        self._program: Program | None = None
        folder.mkdir()
        self._command = (
            str(nsq_program("nsqd")),
            f"-tcp-address=127.0.0.1:{tcp_port}",
            f"-http-address=127.0.0.1:{http_port}",
            "-broadcast-address=127.0.0.1",
            f"-broadcast-tcp-port={self.proxy.port}",
            f"-lookupd-tcp-address={lookupd}",
            f"-data-path={folder}",
            f"-max-msg-timeout={max_lease_s}s",
        )

    async def start(self) -> None:
        """Return when it answers."""
        self._program = self._programs.start(self.name, self._command)
        await answering(self._program, self.http_address)
        self.is_up.set()

    async def start_with(self, topics: Sequence[str]) -> None:
        """Return when it and its proxy listen, and it has these topics and their channel.

        nsqd looks at the timers of a new channel only after up to 5 s, and of those that it finds when it
        starts at once: so it is started twice.
        """
        await self.start()
        for topic in topics:
            await NsqdHttp(self.http_address).create_channel(topic, CHANNEL)
        await self.restart()
        await self.proxy.start()

    async def restart(self) -> None:
        """End it cleanly, so that it keeps its messages, and start it again."""
        async with self._one_fault:
            await self._end()
            await self.start()

    async def empty(self, before: Callable[[], Awaitable[None]]) -> None:
        """End it, remove all its data, and start it again. Nobody may publish to it meanwhile.

        Args:
            before: Called first; must leave nothing on it that anybody needs.
        """
        async with self._one_fault:
            await before()
            await self._end()
            shutil.rmtree(self.folder)
            self.folder.mkdir()
            await self.start()

    async def stall(self, for_s: float) -> None:
        """Stop its process for a while."""
        async with self._one_fault:
            program = self._running()
            program.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(for_s)  # the length is the fault
            finally:
                program.signal(signal.SIGCONT)

    async def topics(self) -> list[dict[str, Any]]:
        """Return what ``/stats`` says of each topic."""
        stats: Any = await NsqdHttp(self.http_address, timeout_s=PATIENCE_S).stats()
        return list(stats["topics"] or ())

    def undisturbed(self) -> asyncio.Lock:
        """Return the lock under which nobody restarts or stalls it."""
        return self._one_fault

    async def left(self) -> int:
        """Return how many messages are queued, deferred or in flight, dead letters not counted."""
        return await _left_on(self)

    async def dead(self) -> int:
        """Return how many dead letters it has."""
        topics = [each for each in await self.topics() if each["topic_name"].endswith(".dead")]
        return sum(map(waiting, topics))

    async def _end(self) -> None:
        program = self._running()
        self.is_up.clear()
        program.signal(signal.SIGTERM)
        if await program.wait() is None:
            raise ChaosFailedError(f"{self.name} did not end within {PATIENCE_S:g} s of SIGTERM")

    def _running(self) -> Program:
        if self._program is None or self._program.code is not None:
            raise ChaosFailedError(f"{self.name} has ended by itself: see its log")
        return self._program


class Cluster:
    """Some nsqd that one nsqlookupd knows.

    Args:
        programs: Of the phase.
        folder: For the data of all.
        size: How many nsqd.
        max_lease_s: Their max-msg-timeout, in whole seconds.
    """

    def __init__(self, programs: Programs, folder: Path, size: int, max_lease_s: int) -> None:
        self._programs = programs
        self._lookupd: Program | None = None
        tcp, self.lookupd = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self._lookupd_command = (
            str(nsq_program("nsqlookupd")),
            f"-tcp-address={tcp}",
            f"-http-address={self.lookupd}",
        )
        names = [f"nsqd-{letter}" for letter in string.ascii_lowercase[:size]]
        self.nodes = tuple(Node(name, programs, folder / name, tcp, max_lease_s) for name in names)

    async def start(self, topics: Sequence[str]) -> None:
        """Start everything, with these topics and their channel."""
        await self._start_lookupd()
        async with asyncio.TaskGroup() as group:
            for node in self.nodes:
                group.create_task(node.start_with(topics))

    async def restart_lookupd(self) -> None:
        """End nsqlookupd, which forgets everything, and start it again."""
        if self._lookupd is not None:
            self._lookupd.signal(signal.SIGTERM)
            await self._lookupd.wait()
        await self._start_lookupd()

    async def _start_lookupd(self) -> None:
        self._lookupd = self._programs.start("nsqlookupd", self._lookupd_command)
        await answering(self._lookupd, self.lookupd)

    async def close(self) -> None:
        """End the proxies."""
        for node in self.nodes:
            await node.proxy.close()

    async def wait_empty(self) -> None:
        """Wait until nothing is queued, deferred or in flight, but for dead letters."""
        looks = 0
        while looks < _QUIET_LOOKS:
            looks = 0 if any([await _left_on(node) for node in self.nodes]) else looks + 1
            await asyncio.sleep(_LOOK_S)  # between looks that must agree; nsqd announces nothing

    async def wait_registered(self) -> None:
        """Wait until nsqlookupd knows every nsqd; one notices up to 30 s later that it was restarted."""

        async def known() -> int:
            return len(json.loads(await fetch(self.lookupd, "/nodes"))["producers"])

        await until(known, lambda count: count == len(self.nodes))

    async def left(self) -> int:
        """Return how many messages are queued, deferred or in flight, dead letters not counted."""
        return sum([await _left_on(node) for node in self.nodes])

    async def counts(self) -> Mapping[str, int]:
        """Return nsqd's own counts since it was started, dead letters not counted."""
        names = ("message_count", "requeue_count", "timeout_count")
        channels = [each for node in self.nodes for each in _channels(await node.topics())]
        return {name: sum(channel[name] for channel in channels) for name in names}


async def _left_on(node: Node) -> int:
    topics = [topic for topic in await node.topics() if not topic["topic_name"].endswith(".dead")]
    return sum(map(waiting, topics))


def waiting(topic: Mapping[str, Any]) -> int:
    """Return how many messages of a topic in ``/stats`` are queued, deferred or in flight."""
    counts = ("depth", "in_flight_count", "deferred_count")
    in_channels: int = sum(channel[count] for channel in topic["channels"] for count in counts)
    depth: int = topic["depth"]
    return depth + in_channels


def _channels(topics: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for topic in topics:
        if not topic["topic_name"].endswith(".dead"):
            yield from topic["channels"]

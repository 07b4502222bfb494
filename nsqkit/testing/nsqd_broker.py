"""The harness's NSQ as a real nsqd: a process on free ports, with its data in a folder of its own."""

import asyncio
import os
import re
import shutil
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from nsqkit.nsq import Consumer, NsqdHttp
from nsqkit.nsq.outlet import Outlet
from nsqkit.publisher import connection_options
from nsqkit.settings import Settings
from nsqkit.testing.broker import Load
from nsqkit.testing.clock import MAX_WAIT_S, RealClock
from nsqkit.testing.errors import HarnessError, NeedsVirtualTimeError

START_S = 10.0
LOOK_AGAIN_S = 0.01
_LISTENS = re.compile(rb"(TCP|HTTP): listening on (\S+)")


def nsqd_program() -> str:
    """Return the path of nsqd: in the folder NSQKIT_NSQD_BIN, else in .nsqd/bin, else on PATH.

    Raises:
        HarnessError: If it is nowhere.
    """
    named = os.environ.get("NSQKIT_NSQD_BIN")
    places = named or os.pathsep.join((str(Path(".nsqd", "bin").absolute()), os.environ.get("PATH", "")))
    found = shutil.which("nsqd", path=places)
    if found is None:
        raise HarnessError(
            f"nsqd is not in {named or '.nsqd/bin, nor on PATH'}; NSQKIT_NSQD_BIN names its folder"
        )
    return found


class NsqdBroker:
    """A real nsqd, started for one harness.

    Args:
        settings: Of the connections.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = ""
        self.max_msg_bytes = settings.max_msg_bytes
        self.clock = RealClock()
        self.now_s = time.monotonic
        self.now_ns = time.time_ns
        self._channels: frozenset[tuple[str, str]] = frozenset()
        self._http: NsqdHttp
        self._stack = AsyncExitStack()
        self._outlet = Outlet(connection_options(settings), publish_timeout_s=settings.publish_timeout_s)
        self.publish = self._outlet.publish
        self.ensure_channel = self._outlet.ensure_channel

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Start nsqd, and make the channels.

        Raises:
            HarnessError: If nsqd is not found, or does not start.
        """
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nsqkit-nsqd-"))
            process = await asyncio.create_subprocess_exec(
                nsqd_program(),
                "-tcp-address=127.0.0.1:0",
                "-http-address=127.0.0.1:0",
                f"-data-path={folder}",
                "-queue-scan-refresh-interval=100ms",  # else it looks after new channels only every 5 s
                stdout=DEVNULL,
                stderr=PIPE,
            )
            stack.push_async_callback(_end, process)
            addresses = await _addresses(process)
            reader = asyncio.create_task(_discard(process))
            stack.callback(reader.cancel)
            self.address, self._http = addresses["TCP"], NsqdHttp(addresses["HTTP"])
            stack.push_async_callback(self._outlet.close)
            for topic, channel in channels:
                await self.ensure_channel(self.address, topic, channel)
            self._channels = frozenset(channels)
            self._stack = stack.pop_all()

    def make_consumer(self, **wanted: Any) -> Consumer:
        """Return a handler's consumer; see ``Subscription``."""
        return Consumer(addresses=(self.address,), lookup=None, **wanted)

    async def settle(self, load: Load, *, through_delays: bool) -> None:
        """Return when nsqd has nothing to deliver now, and handlers hold nothing; see ``Broker``."""
        await self.clock.wait()
        give_up_s = time.monotonic() + MAX_WAIT_S
        before: object = None
        while True:
            left, seen = await self._left(load, through_delays=through_delays)
            if not left and seen == before:  # its answers are no snapshot: look twice
                return
            before = seen
            if through_delays and load.longest_wait_s() > MAX_WAIT_S:
                left = f"a message is requeued for {load.longest_wait_s():.0f} s"
            elif time.monotonic() <= give_up_s:
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            if left.startswith("nsqd"):
                raise HarnessError(f"not settled after {MAX_WAIT_S:g} s: {left}")
            raise NeedsVirtualTimeError(f"needs the virtual clock: {left}")

    def drop_connections(self) -> None:
        """Refuse: the messages come back when their lease ends, which takes too long."""
        raise NeedsVirtualTimeError("needs the virtual clock: after drop_connection() a lease has to end")

    async def stop(self) -> None:
        """Disconnect, and end nsqd."""
        await self._stack.aclose()

    async def _left(self, load: Load, *, through_delays: bool) -> tuple[str, object]:
        """Return what is left to be done, in words, and the counts by which that was seen."""
        stats: Any = await self._http.stats()
        topics = {topic["topic_name"]: topic for topic in stats["topics"] or ()}
        seen = []
        left = ""
        for name, channel_name in self._channels:
            topic = topics[name]
            (channel,) = [each for each in topic["channels"] if each["channel_name"] == channel_name]
            moving = channel["message_count"] < topic["message_count"]  # not in the channel yet
            if moving or topic["depth"] or channel["depth"] or channel["in_flight_count"]:
                left = f"nsqd has messages on {name}/{channel_name}"
            elif through_delays and channel["deferred_count"] and not left:
                left = f"messages are deferred on {name}/{channel_name}"
            seen.append((name, channel_name, channel["message_count"], channel["requeue_count"]))
        if load.held():
            left = f"a handler still runs after {MAX_WAIT_S:g} s"
        elif through_delays and load.is_resting() and not left:
            left = "an intake rests"
        return left, sorted(seen)


async def _addresses(process: Process) -> dict[str, str]:
    """Return where nsqd listens, by TCP and HTTP, as its log says."""
    found: dict[str, str] = {}
    said = b""
    async with asyncio.timeout(START_S):
        while len(found) < 2 and (line := await _stderr(process).readline()):  # noqa: PLR2004 - TCP and HTTP
            said += line
            if match := _LISTENS.search(line):
                found[match[1].decode()] = match[2].decode()
    if len(found) < 2:  # noqa: PLR2004
        raise HarnessError(f"nsqd did not start: {said.decode(errors='replace')}")
    return found


async def _discard(process: Process) -> None:
    """Read on, so that nsqd can write on."""
    while await _stderr(process).readline():
        pass


def _stderr(process: Process) -> asyncio.StreamReader:
    if process.stderr is None:
        raise HarnessError("nsqd's log is not piped")
    return process.stderr


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(START_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

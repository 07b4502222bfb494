"""The harness's NSQ as a real nsqd: a process on free ports, with its data in a folder of its own."""

import asyncio
import os
import re
import shutil
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nsqkit.nsq import Consumer, ConsumerOptions, Endpoints, NsqdHttp
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.settings.settings import Settings
from nsqkit.testing.broker import Load
from nsqkit.testing.clock import MAX_WAIT_S, RealClock
from nsqkit.testing.errors import HarnessError, NeedsVirtualTimeError

START_S = 10.0
LOOK_AGAIN_S = 0.01
_COUNTS = ("channel_name", "message_count", "requeue_count", "depth", "in_flight_count", "deferred_count")
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


class Look(NamedTuple):
    """What nsqd says of the handlers' channels: whether messages are due, are deferred, and its counts."""

    is_due: bool
    is_deferred: bool
    counts: tuple[tuple[Any, ...], ...]


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
        self._publishers = PublisherPool(
            connection_options(settings), publish_timeout_s=settings.publish_timeout_s
        )
        self.publish = self._publishers.publish
        self.ensure_channel = self._publishers.ensure_channel

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Start nsqd, and make the channels.

        It is started twice: nsqd looks after what is deferred at once in channels that it knew at its
        start, and only every 5 s in new ones.

        Raises:
            HarnessError: If nsqd is not found, or does not start.
        """
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nsqkit-nsqd-"))
            async with _nsqd(folder) as addresses:
                for topic, channel in channels:
                    await NsqdHttp(addresses["HTTP"]).create_channel(topic, channel)
            addresses = await stack.enter_async_context(_nsqd(folder))
            self.address, self._http = addresses["TCP"], NsqdHttp(addresses["HTTP"])
            stack.push_async_callback(self._publishers.close)
            for topic, channel in channels:
                await self.ensure_channel(self.address, topic, channel)
            self._channels = frozenset(channels)
            self._stack = stack.pop_all()

    def make_consumer(self, options: ConsumerOptions, **callbacks: Any) -> Consumer:
        """Return a handler's consumer; see ``Subscription``."""
        return Consumer(options, Endpoints((self.address,)), **callbacks)

    async def settle(self, load: Load, *, through_delays: bool) -> None:
        """Return when nsqd has nothing to deliver now, and handlers hold nothing; see ``Broker``.

        Raises:
            HarnessError: If nsqd has something and does not deliver it.
        """
        await self.clock.wait()
        before, changed_s = None, 0.0
        while True:
            look = await self._look()
            waits = through_delays and (look.is_deferred or load.is_resting())
            if not (look.is_due or waits or load.held()) and look == before:
                return  # seen twice, for nsqd's answer is no snapshot
            if look != before:
                before, changed_s = look, time.monotonic()
            if through_delays and load.longest_wait_s() > MAX_WAIT_S:
                raise NeedsVirtualTimeError(
                    f"needs the virtual clock: a message is requeued for {load.longest_wait_s():.0f} s"
                )
            if time.monotonic() > changed_s + MAX_WAIT_S:
                if look.is_due and not load.held():
                    raise HarnessError(
                        f"nsqd has delivered nothing for {MAX_WAIT_S:g} s, and has {look.counts}"
                    )
                raise NeedsVirtualTimeError(
                    f"needs the virtual clock: nothing has happened for {MAX_WAIT_S:g} s"
                )
            await asyncio.sleep(LOOK_AGAIN_S)

    def drop_connections(self) -> None:
        """Refuse: the messages come back when their lease ends, which takes too long."""
        raise NeedsVirtualTimeError("needs the virtual clock: after drop_connection() a lease has to end")

    async def stop(self) -> None:
        """Disconnect, and end nsqd."""
        await self._stack.aclose()

    async def _look(self) -> Look:
        stats: Any = await self._http.stats()
        is_due = is_deferred = False
        counts = []
        for topic in stats["topics"]:
            for channel in topic["channels"]:
                if (topic["topic_name"], channel["channel_name"]) in self._channels:
                    unseen = topic["message_count"] - channel["message_count"]  # on its way to the channel
                    is_due |= bool(unseen or channel["depth"] or channel["in_flight_count"])
                    is_deferred |= bool(channel["deferred_count"])
                    counts.append(tuple(channel[count] for count in _COUNTS))
        return Look(is_due, is_deferred, tuple(counts))


@asynccontextmanager
async def _nsqd(folder: str) -> AsyncIterator[dict[str, str]]:
    """Run nsqd; yields where it listens, by TCP and HTTP."""
    process = await asyncio.create_subprocess_exec(
        nsqd_program(),
        "-tcp-address=127.0.0.1:0",
        "-http-address=127.0.0.1:0",
        f"-data-path={folder}",
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        addresses = await _addresses(process)
        reader = asyncio.create_task(_read_on(process))
        yield addresses
        reader.cancel()
    finally:
        await _end(process)


async def _addresses(process: Process) -> dict[str, str]:
    """Return where nsqd says that it listens."""
    found: dict[str, str] = {}
    said = b""
    async with asyncio.timeout(START_S):
        while len(found) < len(("TCP", "HTTP")) and (line := await _log(process).readline()):
            said += line
            if match := _LISTENS.search(line):
                found[match[1].decode()] = match[2].decode()
    if len(found) < len(("TCP", "HTTP")):
        raise HarnessError(f"nsqd did not start: {said.decode(errors='replace')}")
    return found


async def _read_on(process: Process) -> None:
    """Read nsqd's log, so that it can write on."""
    while await _log(process).readline():
        pass


def _log(process: Process) -> asyncio.StreamReader:
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

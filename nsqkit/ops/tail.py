"""Tail: shows the messages of a topic as they arrive, on a separate ephemeral channel.

NSQ has no peek, and a topic's first channel takes the whole backlog. So an nsqd is followed only while the
topic has a durable channel there. What other channels receive does not change.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from nsqkit.errors import ConnectionLostError, NsqkitError, SettingsError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import Node
from nsqkit.nsq.message import Message, one_by_one
from nsqkit.nsq.nodes import nodes_of
from nsqkit.nsq.options import connection_options
from nsqkit.policy.names import EPHEMERAL, is_ephemeral, topic_problem
from nsqkit.policy.new_faults import NewFaults
from nsqkit.policy.suggestion import suggestion
from nsqkit.program import OnSecondSignal, stop_event, unless
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs

_READY = 100
_LOOK_AGAIN_S = 1.0

Show = Callable[[Message], bool]


def tail(topic: str, settings: Settings, show: Show, *, on_second_signal: OnSecondSignal = None) -> None:
    """Show the messages of a topic until SIGTERM or SIGINT; runs an event loop of its own.

    Args:
        topic: The topic to follow.
        settings: The nsqd and nsqlookupd to ask.
        show: Called with each message; returns whether to continue.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

    Raises:
        SettingsError: If the settings name no nsqd, or no nsqd has the topic with a durable channel.
        ConnectionLostError: If no nsqd can be asked.
    """

    async def run() -> None:
        await unless(stop_event(on_second_signal), Tail(topic, settings).run(show))

    asyncio.run(run())


class Tail:
    """Follows one topic, on every nsqd in the settings or known to nsqlookupd.

    Args:
        topic: The topic to follow.
        settings: The nsqd and nsqlookupd to ask.

    Raises:
        SettingsError: If the topic's name is not valid, or the settings name no nsqd.
    """

    def __init__(self, topic: str, settings: Settings) -> None:
        if problem := topic_problem(topic):
            raise SettingsError(problem)
        if not (settings.nsqd or settings.lookupd):
            raise SettingsError("no nsqd to follow: give --nsqd HOST:4150 or --lookupd HOST:4161")
        self._topic = topic
        self._channel = f"tail-{secrets.token_hex(4)}{EPHEMERAL}"
        self._settings = settings
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._keepers: dict[Node, asyncio.Task[None]] = {}
        self._log = logs.get_logger(topic=topic, channel=self._channel)

    async def run(self, show: Show) -> None:
        """Show messages until *show* returns False.

        Args:
            show: Called with each message; returns whether to continue.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

        Raises:
            SettingsError: If no nsqd has the topic with a durable channel.
            ConnectionLostError: If no nsqd can be asked.
        """
        self._follow(await self._first_nodes())
        poller = asyncio.create_task(self._poll())
        try:
            is_wanted = True
            while is_wanted:
                message = await self._arrived.get()
                message.finish()
                is_wanted = show(message)
        finally:
            tasks = (poller, *self._keepers.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _first_nodes(self) -> frozenset[Node]:
        found = await nodes_of(self._topic, self._settings)
        if not found.nodes:
            if found.failures:
                raise ConnectionLostError(" and ".join(self._settings.lookupd), "; ".join(found.failures))
            raise SettingsError(f"no nsqd that nsqlookupd knows has a topic {self._topic!r}")
        looks = await asyncio.gather(*map(self._problem, found.nodes), return_exceptions=True)
        if None not in looks:
            problems = {str(each): each for each in looks}
            wrong = [each for each in problems.values() if isinstance(each, str)]
            if not wrong and isinstance(looks[0], BaseException):
                raise looks[0]
            raise SettingsError("; ".join(sorted(problems)))
        return found.nodes

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lookupd_poll_s)
            self._follow((await nodes_of(self._topic, self._settings)).nodes)

    def _follow(self, nodes: frozenset[Node]) -> None:
        for node in nodes - self._keepers.keys():
            self._keepers[node] = asyncio.create_task(self._keep(node))

    async def _keep(self, node: Node) -> None:
        """Follow one nsqd until cancelled; check the topic again after each lost connection."""
        now_s, waits = asyncio.get_running_loop().time, NewFaults()
        while True:
            try:
                problem = await self._problem(node)
                if problem is None:
                    waits.take((), now_s=now_s())
                    problem = await self._serve(node)
            except NsqkitError as error:
                problem = str(error)
            if new := waits.take((problem,), now_s=now_s()):
                self._log.warning("tail_waits", nsqd=node.address, error=new)
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _serve(self, node: Node) -> str:
        """Receive messages until the connection closes, and return why it closed."""
        connection = Connection(
            node.address, connection_options(self._settings), on_messages=one_by_one(self._arrived.put_nowait)
        )
        try:
            await connection.open()
            await connection.subscribe(self._topic, self._channel)
            connection.ready(_READY)
            self._log.info("tail_follows", nsqd=node.address)
            return str(await connection.wait_closed())
        finally:
            connection.close()

    async def _problem(self, node: Node) -> str | None:
        """Return why an nsqd must not be followed; None if it can be.

        Raises:
            NsqkitError: If the nsqd cannot be asked.
        """
        nsqd = NsqdHttp(node.http_address, self._settings.connect_timeout_s)
        try:
            channels = await nsqd.read_stats(_channels, self._topic)
            if self._topic not in channels:
                known = await nsqd.read_stats(_channels)
                return f"nsqd {node.address} has no topic {self._topic!r}{suggestion(self._topic, known)}"
        except ConnectionLostError as error:
            reason = f"{error.reason}; tail needs its HTTP port: give it with --nsqd-http"
            raise ConnectionLostError(error.address, reason) from error
        if all(map(is_ephemeral, channels[self._topic])):
            return (
                f"nsqd {node.address}: topic {self._topic!r} has no durable channel, and a topic's first "
                "channel takes the whole backlog: start a worker of the topic first"
            )
        return None


def _channels(stats: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of the channels of each topic; raise anything if these are no statistics of nsqd."""
    return {
        topic["topic_name"]: [str(channel["channel_name"]) for channel in topic["channels"]]
        for topic in stats["topics"] or ()
    }

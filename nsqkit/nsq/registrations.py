"""Registrations: a worker's channels at every nsqlookupd, so that an nsqd gives them to a new topic.

It does not create anything on an nsqd.
"""

import asyncio
import random

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.lifeline import Lifeline
from nsqkit.nsq.log import Log
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from nsqkit.policy.registration import (
    Pair,
    Registration,
    RegistrationState,
    by_topic,
    kept,
    registration_problems,
)
from nsqkit.policy.retry import Exponential
from nsqkit.program import is_set_within, together

_RETRY = Exponential(base_s=0.2, max_s=12.0)  # 15 s with the longest jitter
_POLL_JITTER = 0.3
_REQUESTS_AT_ONCE = 10


class Registrations:
    """Registers channels at every nsqlookupd, and again at one that has restarted.

    An nsqd asks nsqlookupd for the channels of a new topic, and creates them before it delivers a message.
    Otherwise the first channel would get all messages that arrive before the others exist. nsqlookupd keeps
    registrations in memory only. The end of an open connection shows a restart: a topic that vanishes while
    the connection lasts was deleted by an operator, and stays deleted (ADR 0034).

    Args:
        lookup: The nsqlookupd.
        pairs: The durable (topic, channel) pairs to register.
        poll_s: Seconds between two checks for deleted topics, with a jitter of 30 %.
        timeout_s: Time limit of one request, in seconds above 0.
        log: Logger for registrations and failures.
        background: Starts the tasks; by default one that only logs those that die.

    Source:
        nsqd/nsqd.go (GetTopic), nsqlookupd/registration_db.go.
    """

    def __init__(
        self,
        lookup: Lookup,
        pairs: frozenset[Pair],
        *,
        poll_s: float,
        timeout_s: float,
        log: Log,
        background: Background | None = None,
    ) -> None:
        self._background = background or Background(log)
        self._pairs = pairs
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._log = log
        self._registrations = {
            address: Registration(
                RegistrationState.PENDING, f"nsqlookupd {address}: the channels are not registered yet"
            )
            for address in lookup.addresses
            if pairs
        }
        self._is_ready = asyncio.Event()
        self._changed()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """Why a new topic might lack channels of this worker, one line each; empty if it cannot."""
        return registration_problems(self._registrations)

    def start(self) -> None:
        """Start to register, and return at once."""
        self._keepers = [
            self._background.start(self._keep(address), f"registrations at nsqlookupd {address}")
            for address in self._registrations
        ]

    async def wait_ready(self) -> None:
        """Wait until there are no :attr:`problems`."""
        await self._is_ready.wait()

    async def close(self) -> None:
        """Stop; what is registered stays registered, like a channel on an nsqd."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep(self, address: str) -> None:
        """Keep the channels registered at one nsqlookupd, whenever it has restarted."""
        http = NsqlookupdHttp(address, self._timeout_s)
        wanted, attempts = self._pairs, 0
        while True:
            attempts += 1
            error = None
            try:
                async with Lifeline(address, self._timeout_s) as lifeline:
                    await self._register(http, wanted)
                    self._enter(address, Registration(RegistrationState.REGISTERED))
                    while not await is_set_within(lifeline.ended, self._next_poll_s()):
                        topics = await http.topics()
                        if not await lifeline.ping():  # it may have restarted, and forgotten topics
                            break
                        wanted, attempts = kept(self._pairs, topics), 0
            except (ConnectionLostError, RefusedError) as failure:
                error = failure
            retry_in_s = _RETRY.delay_s(max(attempts, 1), draw=random.random())  # noqa: S311 - spreads load
            if error is not None:
                self._failed(address, error, retry_in_s)
            await asyncio.sleep(retry_in_s)

    async def _register(self, http: NsqlookupdHttp, wanted: frozenset[Pair]) -> None:
        """Register the channels that an nsqlookupd does not know."""
        created: list[str] = []
        slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)

        async def register(topic: str, channels: frozenset[str]) -> None:
            async with slots:
                for channel in sorted(channels - await http.channels(topic)):
                    await http.create_channel(topic, channel)
                    created.append(f"{topic}/{channel}")

        await together(*(register(*each) for each in by_topic(wanted).items()))
        if created:
            self._log.info("channels_registered", nsqlookupd=http.address, channels=sorted(created))

    def _failed(self, address: str, error: ConnectionLostError | RefusedError, retry_in_s: float) -> None:
        is_refused = isinstance(error, RefusedError)
        state = RegistrationState.REFUSED if is_refused else RegistrationState.UNREACHABLE
        detail = f"{error.code} {error.description}" if isinstance(error, RefusedError) else error.reason
        problem = f"nsqlookupd {address}: the channels are not registered: {detail}"
        if problem != self._registrations[address].problem:
            self._log.warning(
                "registration_failed", nsqlookupd=address, error=detail, retry_in_s=round(retry_in_s, 1)
            )
        self._enter(address, Registration(state, problem))

    def _enter(self, address: str, registration: Registration) -> None:
        self._registrations[address] = registration
        self._changed()

    def _changed(self) -> None:
        if self.problems:
            self._is_ready.clear()
        else:
            self._is_ready.set()

    def _next_poll_s(self) -> float:
        return self._poll_s * (1.0 + _POLL_JITTER * random.uniform(-1.0, 1.0))  # noqa: S311 - spreads load

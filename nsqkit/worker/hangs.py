"""Hangs: finds subscriptions of one handler that only a restart of the worker can bring back."""

import time
from collections.abc import Callable, Collection
from typing import Any

from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.discovery import Source
from nsqkit.policy.hang import hung, silent

_HINT = "this is a defect in nsqkit, please report it; only a restart of the worker helps"


class Hangs:
    """Looks at the subscriptions of a consumer after each poll of the nsqd, and logs those that hang.

    Args:
        consumer: The consumer.
        log: structlog logger with the fields of the handler.
        now_s: Monotonic clock, in seconds.
    """

    def __init__(self, consumer: Consumer, log: Any, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._log = log
        self._now_s = now_s
        self._silent: dict[Source, float] = {}
        self._hung: dict[Source, float] = {}

    @property
    def http_addresses(self) -> frozenset[str]:
        """``host:port`` of the HTTP port of each nsqd whose subscription is silent: the next poll asks it."""
        return frozenset(filter(None, map(self._http_address, self._silent_now())))

    @property
    def faults(self) -> tuple[str, ...]:
        """The subscriptions that hang, one line each."""
        signs_s = self._consumer.signs_s() if self._hung else {}
        return tuple(
            f"the subscription to {source.topic} at nsqd {source.address} hangs, although the nsqd answers"
            for source, sign_s in sorted(self._hung.items())
            if signs_s.get(source) == sign_s
        )

    def polled(self, answered: Collection[str]) -> None:
        """Look at all subscriptions after a poll.

        Args:
            answered: HTTP addresses of the nsqd that have just answered.
        """
        now = self._silent_now()
        answering = {source for source in now if self._http_address(source) in answered}
        before, self._hung = self._hung, hung(self._silent, now, answering)
        self._silent = now
        for source in sorted(self._hung.keys() - before.keys()):
            silent_s = round(self._now_s() - self._hung[source])
            self._log.error(
                "subscription_hangs", nsqd=source.address, topic=source.topic, silent_s=silent_s, hint=_HINT
            )

    def _silent_now(self) -> dict[Source, float]:
        return silent(self._consumer.signs_s(), now_s=self._now_s())

    def _http_address(self, source: Source) -> str | None:
        return self._consumer.http_address(source.address)

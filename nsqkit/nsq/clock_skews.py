"""Clock skews: compares this machine's clock with those of all nsqd. It corrects no time itself."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import fetch_date_s
from nsqkit.nsq.log import Log
from nsqkit.policy.clock_skew import is_reported, skew_s


class SkewsNs(dict[str, int | None]):
    """How far this machine's clock is ahead of each nsqd's, in nanoseconds; None while that is not known.

    A key is ``host:port`` of nsqd's TCP port. Reading costs no call.
    """

    def __missing__(self, address: str) -> None:
        return None


class ClockSkews:
    """Measures skews by the ``Date`` in nsqd's HTTP answers, and logs those that matter.

    Args:
        timeout_s: Time limit of one request, in seconds above 0.
        on_skew: Called with ``host:port`` of an nsqd's TCP port and its skew in seconds; None if the nsqd is
            gone.
        log: Logger for skews.
        now_ns: This machine's clock, nanoseconds since 1970 UTC.

    Attributes:
        skews_ns: The skews that are known.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        on_skew: Callable[[str, float | None], None],
        log: Log,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.skews_ns = SkewsNs()
        self._timeout_s = timeout_s
        self._on_skew = on_skew
        self._log = log
        self._now_ns = now_ns
        self._nsqd: defaultdict[str, set[str]] = defaultdict(set)  # TCP addresses by HTTP address
        self._reported: set[str] = set()
        self._unknown: set[str] = set()

    async def connect(self, address: str, http_address: str | None, *, is_needed: bool) -> None:
        """Take in an nsqd that is about to be subscribed.

        Args:
            address: ``host:port`` of its TCP port.
            http_address: ``host:port`` of its HTTP port; None if it is not known.
            is_needed: Whether to measure its skew now; a failure is logged.
        """
        self.skews_ns.setdefault(address, None)
        error = "its HTTP port is not known"
        if http_address is not None:
            self._nsqd[http_address].add(address)
            error = await self._measure(http_address) if is_needed else ""
        if error and is_needed and address not in self._unknown and self.skews_ns[address] is None:
            self._unknown.add(address)
            hint = "max_age_s is not applied until it is known; give nsqd's HTTP ports with --nsqd-http"
            self._log.warning("clock_unknown", nsqd=address, error=error, hint=hint)

    async def measure(self, http_address: str) -> None:
        """Measure the skew of one nsqd again; a failure changes nothing."""
        await self._measure(http_address)

    def keep(self, http_addresses: Collection[str]) -> None:
        """Forget all nsqd but these."""
        for gone in self._nsqd.keys() - http_addresses:
            for address in self._nsqd.pop(gone):
                self.skews_ns.pop(address, None)
                self._unknown.discard(address)
                self._on_skew(address, None)
            self._reported.discard(gone)

    async def _measure(self, http_address: str) -> str:
        """Return why the skew cannot be measured; empty if it was."""
        sent_s = self._now_ns() / 1e9
        try:
            date_s = await fetch_date_s(http_address, timeout_s=self._timeout_s)
        except (ConnectionLostError, RefusedError) as error:
            return str(error)
        self._take(http_address, skew_s(date_s, sent_s=sent_s, received_s=self._now_ns() / 1e9))
        return ""

    def _take(self, http_address: str, skew_s: float) -> None:
        for address in self._nsqd[http_address]:
            self.skews_ns[address] = round(skew_s * 1e9)
            self._unknown.discard(address)
            self._on_skew(address, skew_s)
        was_reported = http_address in self._reported
        if is_reported(skew_s, before=was_reported):
            self._reported.add(http_address)
            if not was_reported:
                direction = "ahead of" if skew_s > 0 else "behind"
                hint = f"this clock is {direction} nsqd's, and ages are corrected; synchronise the clocks"
                self._log.warning("clock_skew", nsqd=http_address, skew_s=round(skew_s, 1), hint=hint)
        elif was_reported:
            self._reported.discard(http_address)
            self._log.info("clocks_agree", nsqd=http_address)

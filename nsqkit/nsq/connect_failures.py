"""Connect failures: why sources are not subscribed, and the log of it.

Each reason has a line a minute. If there are many reasons, most of them share a line.
"""

import asyncio
import math
from collections import Counter, defaultdict

from nsqkit.errors import NsqkitError, RefusedError
from nsqkit.nsq.discovery import Source
from nsqkit.nsq.log import Log

_LOG_AGAIN_S = 60.0
_MOST_LINES = 10
"""Failures a minute that have a line each, of either kind; later ones share lines."""
_COLLECT_S = 10.0
_MOST_NAMED = 5


class ConnectFailures:
    """The failures of one consumer to connect.

    An nsqd that closes each connection after a moment, or a proxy without an nsqd, is a failure that lasts:
    what was logged is remembered until a connection has been :meth:`stable`.

    Args:
        channel: Channel of the consumer.
        log: Logger for connects, losses and refusals.
    """

    def __init__(self, channel: str, log: Log) -> None:
        self._channel = channel
        self._log = log
        self._problems: dict[Source, str] = {}
        self._logged_s: dict[str, float] = {}  # when each was last logged
        self._reasons: defaultdict[Source, set[str]] = defaultdict(set)  # since the source was stable
        self._connects: defaultdict[Source, int] = defaultdict(int)  # since the source was stable
        self._minute_s = -math.inf  # when the present minute began
        self._lines: Counter[str] = Counter()  # in this minute
        self._collected: list[str] = []  # problems to log in one line
        self._collecting: asyncio.TimerHandle | None = None

    def problem(self, source: Source) -> str:
        """Return why a source is not subscribed, in one line."""
        return self._problems.get(source, f"nsqd {source.address}: not subscribed to {source.topic} yet")

    def connected(self, source: Source) -> None:
        """Log that a source is subscribed; if that happens repeatedly, :meth:`stable` logs it."""
        self._problems.pop(source, None)
        self._connects[source] += 1
        if self._connects[source] <= 2:  # noqa: PLR2004 - the first one, and one after a restart of nsqd
            self._say_connected(source)

    def stable(self, source: Source) -> None:
        """Take in that a source has been subscribed for a while; its next failure is logged at once."""
        for reason in self._reasons.pop(source, ()):
            self._logged_s.pop(reason, None)
        if self._connects.pop(source, 0) > 2:  # noqa: PLR2004 - not logged yet
            self._say_connected(source)

    def forget(self, source: Source) -> None:
        """Forget a source: it is not wanted any more."""
        self._problems.pop(source, None)
        self._reasons.pop(source, None)
        self._connects.pop(source, None)

    def failed(self, source: Source, error: NsqkitError, retry_in_s: float) -> None:
        """Remember and log a failure.

        Args:
            source: The source that is not subscribed.
            error: What ended the connection, or kept it from being opened.
            retry_in_s: Seconds until the next attempt.
        """
        problem = self._problems[source] = str(error)
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_s.get(problem, -math.inf) < _LOG_AGAIN_S:
            return
        if now_s - self._minute_s >= _LOG_AGAIN_S:
            self._start_minute(now_s)
        self._logged_s[problem] = now_s
        self._reasons[source].add(problem)
        say, name = (
            (self._log.error, "nsqd_refused")
            if isinstance(error, RefusedError)
            else (self._log.warning, "nsqd_unreachable")
        )
        self._lines[name] += 1
        if self._lines[name] > _MOST_LINES:
            self._collect(problem)
            return
        say(
            name,
            nsqd=source.address,
            topic=source.topic,
            channel=self._channel,
            error=problem,
            retry_in_s=round(retry_in_s, 1),
        )

    def close(self) -> None:
        """Log what is still to be logged."""
        if self._collecting is not None:
            self._collecting.cancel()
            self._say_collected()

    def _start_minute(self, now_s: float) -> None:
        self._minute_s = now_s
        self._lines.clear()
        since_s = now_s - _LOG_AGAIN_S
        self._logged_s = {problem: at_s for problem, at_s in self._logged_s.items() if at_s > since_s}

    def _collect(self, problem: str) -> None:
        self._collected.append(problem)
        if self._collecting is None:
            self._collecting = asyncio.get_running_loop().call_later(_COLLECT_S, self._say_collected)

    def _say_collected(self) -> None:
        self._collecting = None
        named, left = self._collected[:_MOST_NAMED], len(self._collected) - _MOST_NAMED
        more = {"more": left} if left > 0 else {}
        self._log.warning("more_nsqd_failed", channel=self._channel, error="; ".join(named), **more)
        self._collected.clear()

    def _say_connected(self, source: Source) -> None:
        self._log.info("nsqd_connected", nsqd=source.address, topic=source.topic, channel=self._channel)

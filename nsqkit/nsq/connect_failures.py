"""Connect failures: why sources are not subscribed, and the log of it, a line a minute for each reason."""

import asyncio
import math

from nsqkit.errors import NsqkitError, RefusedError
from nsqkit.nsq.discovery import Source
from nsqkit.nsq.log import Log

_LOG_AGAIN_S = 60.0


class ConnectFailures:
    """The failures of one consumer to connect.

    Args:
        channel: Channel of the consumer.
        log: Logger for connects, losses and refusals.
    """

    def __init__(self, channel: str, log: Log) -> None:
        self._channel = channel
        self._log = log
        self._problems: dict[Source, str] = {}
        self._logged_s: dict[str, float] = {}  # when each was last logged

    def problem(self, source: Source) -> str:
        """Return why a source is not subscribed, in one line."""
        return self._problems.get(source, f"nsqd {source.address}: not subscribed to {source.topic} yet")

    def connected(self, source: Source) -> None:
        """Log that a source is subscribed; its next failure is logged at once."""
        self._logged_s.pop(self._problems.pop(source, ""), None)
        self._log.info("nsqd_connected", nsqd=source.address, topic=source.topic, channel=self._channel)

    def forget(self, source: Source) -> None:
        """Forget why a source is not subscribed: it is not wanted any more."""
        self._problems.pop(source, None)

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
        self._logged_s[problem] = now_s
        say, name = (
            (self._log.error, "nsqd_refused")
            if isinstance(error, RefusedError)
            else (self._log.warning, "nsqd_unreachable")
        )
        say(
            name,
            nsqd=source.address,
            topic=source.topic,
            channel=self._channel,
            error=problem,
            retry_in_s=round(retry_in_s, 1),
        )

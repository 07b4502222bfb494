"""HTTP requests to nsqd and nsqlookupd. It does not retry."""

import asyncio
import json
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.dial import reason
from nsqkit.nsq.names import NamesResolver
from nsqkit.nsq.time_limit import LoopTime
from nsqkit.nsq.wrong_port import HTTP_PORTS, tcp_port_at
from nsqkit.policy.address import split_address

_OK = 200
_NO_SUCH_PATH = "NOT_FOUND"
_RESOLVER = NamesResolver()


async def fetch(
    address: str, path: str, *, method: str = "GET", timeout_s: float = 2.0, **query: str
) -> bytes:
    """Send a request to nsqd or nsqlookupd, and return the body of the response.

    A request that times out because the event loop was blocked is sent again.

    Args:
        address: ``host:port`` of the HTTP port; an IPv6 host in brackets.
        path: Path of the URL, such as ``/stats``.
        method: HTTP method, ``GET`` or ``POST``.
        timeout_s: Time limit in seconds for the connect, and for the whole request.
        query: Parameters of the query string.

    Raises:
        ConnectionLostError: If there is no HTTP response.
        RefusedError: If the status is not 200, with the server's code, such as ``TOPIC_NOT_FOUND``.
        SettingsError: If *address* is not a host and a port.
    """
    split_address(address)
    url = f"http://{address}{path}?{urlencode(query)}"
    try:
        while (response := await _response(url, method, timeout_s)) is None:
            pass
    except (ConnectionResetError, HTTPStreamClosedError) as error:
        why = await tcp_port_at(address, timeout_s) or f"no answer over HTTP: {error}"
        raise ConnectionLostError(address, why) from error
    except OSError as error:
        raise ConnectionLostError(address, reason(error)) from error
    except (HTTPClientError, ValueError) as error:
        raise ConnectionLostError(address, f"no answer over HTTP: {error}") from error
    if response.code != _OK:
        code = _code(response)
        hint = f"; {HTTP_PORTS}" if code == _NO_SUCH_PATH else ""
        raise RefusedError(address, code, f"({method} {path}, status {response.code}){hint}")
    return response.body


async def fetch_date_s(address: str, *, timeout_s: float = 2.0) -> float:
    """Return the ``Date`` of nsqd's answer, in seconds since 1970; nsqd rounds it down.

    Args:
        address: See :func:`fetch`.
        timeout_s: See :func:`fetch`.

    Raises:
        ConnectionLostError: If there is no HTTP response, or it has no valid date.
    """
    try:
        response = await _response(f"http://{address}/ping", "GET", timeout_s)
        if response is not None and (date := response.headers.get("Date")):
            return parsedate_to_datetime(date).timestamp()
    except OSError as error:
        raise ConnectionLostError(address, reason(error)) from error
    except (HTTPClientError, ValueError, OverflowError) as error:
        raise ConnectionLostError(address, f"no answer over HTTP: {error}") from error
    raise ConnectionLostError(address, "its HTTP answer has no date")


async def _response(url: str, method: str, timeout_s: float) -> HTTPResponse | None:
    """Return the response to a request; None if it timed out because the event loop was blocked."""
    # The shared client runs ten requests at a time: a silent server would delay all other requests.
    client = AsyncHTTPClient(force_instance=True, resolver=_RESOLVER)
    time = LoopTime(timeout_s)
    try:
        request = client.fetch(
            url,
            raise_error=False,
            method=method,
            body=b"" if method == "POST" else None,
            connect_timeout=timeout_s,
            request_timeout=timeout_s,
        )
        return await asyncio.shield(request)
    except asyncio.CancelledError:  # tornado cannot abort a request, and would leave its socket open
        await asyncio.gather(request, return_exceptions=True)
        raise
    except HTTPTimeoutError:
        if time.is_nearly_over:
            raise
        return None
    finally:
        time.cancel()
        client.close()


def _code(response: HTTPResponse) -> str:
    # nsqd and nsqlookupd answer {"message": "CODE"}; a proxy may answer anything.
    try:
        answer = json.loads(response.body)
    except ValueError:
        answer = None
    return str(answer.get("message", "")) if isinstance(answer, dict) else response.reason


class NsqdHttp:
    """Client of one nsqd's HTTP port.

    Every method raises ConnectionLostError without a response, and RefusedError after an error response.

    Args:
        address: ``host:port`` of nsqd's HTTP port; an IPv6 host in brackets.
        timeout_s: Time limit of one request, in seconds above 0.

    Source:
        nsqd/http.go.
    """

    def __init__(self, address: str, timeout_s: float = 2.0) -> None:
        self.address = address
        self._timeout_s = timeout_s

    async def ping(self) -> None:
        """Check that nsqd is up and healthy; return if it is."""
        await fetch(self.address, "/ping", timeout_s=self._timeout_s)

    async def stats(self, topic: str | None = None) -> dict[str, object]:
        """Return nsqd's statistics for one topic or all topics, without the list of clients.

        Raises:
            ConnectionLostError: Also if the response is not a JSON object.
        """
        query = {"format": "json", "include_clients": "false", "include_mem": "false"}
        if topic is not None:
            query["topic"] = topic
        answer = await fetch(self.address, "/stats", timeout_s=self._timeout_s, **query)
        try:
            stats = json.loads(answer)
        except ValueError:
            stats = None
        if not isinstance(stats, dict):
            raise ConnectionLostError(self.address, f"/stats is not a JSON object: {answer[:64]!r}")
        return stats

    async def config(self, option: str) -> int | None:
        """Return an integer option of nsqd, such as ``max_msg_size``.

        nsqd reports durations, such as ``max_req_timeout``, in nanoseconds.

        Returns:
            The value; None if this nsqd does not know the option, or it is not an integer.
        """
        try:
            answer = await fetch(self.address, f"/config/{option}", timeout_s=self._timeout_s)
        except RefusedError:
            return None
        return int(answer) if answer.isdigit() else None

    async def create_topic(self, topic: str) -> None:
        """Create a topic unless it exists."""
        await self._post("/topic/create", topic=topic)

    async def add_channel(self, topic: str, channel: str) -> None:
        """Create a channel of an existing topic unless it exists."""
        await self._post("/channel/create", topic=topic, channel=channel)

    async def create_channel(self, topic: str, channel: str) -> None:
        """Create a channel and its topic unless they exist."""
        await self.create_topic(topic)
        await self.add_channel(topic, channel)

    async def pause_topic(self, topic: str) -> None:
        """Pause a topic: nsqd gives its messages to no channel, and they wait in the topic."""
        await self._post("/topic/pause", topic=topic)

    async def unpause_topic(self, topic: str) -> None:
        """Resume a paused topic; has no effect on one that is not paused."""
        await self._post("/topic/unpause", topic=topic)

    async def pause_channel(self, topic: str, channel: str) -> None:
        """Pause a channel: nsqd delivers to none of its consumers, and the messages wait in nsqd."""
        await self._post("/channel/pause", topic=topic, channel=channel)

    async def unpause_channel(self, topic: str, channel: str) -> None:
        """Resume a paused channel; has no effect on one that is not paused."""
        await self._post("/channel/unpause", topic=topic, channel=channel)

    async def _post(self, path: str, **query: str) -> None:
        await fetch(self.address, path, method="POST", timeout_s=self._timeout_s, **query)

"""HTTP requests to nsqd and nsqlookupd, with bounded answers. It does not retry."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.dial import reason
from nsqkit.nsq.names import NamesResolver
from nsqkit.nsq.time_limit import LoopTime
from nsqkit.nsq.wrong_port import not_json, refusal_hint, tcp_port_at
from nsqkit.policy.address import split_address
from nsqkit.policy.peer_text import peer_text

_OK = 200
_GUESS_S = 0.5
"""Seconds to find out what listens on a port that closes the connection instead of answering."""
_RESOLVER = NamesResolver()
_MAX_BODY_BYTES = 16 * 1024 * 1024
"""About 50,000 nsqd in nsqlookupd's /nodes, or 20,000 channels in nsqd's /stats."""
_MAX_HEADER_BYTES = 64 * 1024
_MAX_DIGITS = 18
_MOST_ENTRIES = 200_000

T = TypeVar("T")


async def fetch(
    address: str, path: str, *, method: str = "GET", timeout_s: float = 2.0, token: str = "", **query: str
) -> bytes:
    """Send a request to nsqd or nsqlookupd, and return the body of the response.

    A request that times out because the event loop was blocked is sent again.

    Args:
        address: ``host:port`` of the HTTP port; an IPv6 host in brackets.
        path: Path of the URL, such as ``/stats``.
        method: HTTP method, ``GET`` or ``POST``.
        timeout_s: Time limit in seconds for the connect, and for the whole request.
        token: Bearer token to send; empty for none.
        query: Parameters of the query string.

    Raises:
        ConnectionLostError: If there is no HTTP response.
        RefusedError: If the status is not 200, with the server's code, such as ``TOPIC_NOT_FOUND``.
        SettingsError: If *address* is not a host and a port.
    """
    response = await _answer(address, f"{path}?{urlencode(query)}", method, timeout_s, token)
    if response.code != _OK:
        description = f"({method} {path}, status {response.code}){refusal_hint(response.body)}"
        raise RefusedError(address, _code(response), description)
    return response.body


async def fetch_date_s(address: str, *, timeout_s: float = 2.0) -> float:
    """Return the ``Date`` of nsqd's answer, in seconds since 1970; nsqd rounds it down.

    Args:
        address: See :func:`fetch`.
        timeout_s: See :func:`fetch`.

    Raises:
        ConnectionLostError: If there is no HTTP response, or it has no valid date.
        SettingsError: If *address* is not a host and a port.
    """
    response = await _answer(address, "/ping", "GET", timeout_s)
    try:
        date = parsedate_to_datetime(response.headers["Date"])
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (KeyError, ValueError, OverflowError) as error:
        raise ConnectionLostError(address, "its HTTP answer has no date") from error


async def fetch_json(
    address: str,
    path: str,
    read: Callable[[Any], T],
    what: str,
    *,
    timeout_s: float = 2.0,
    token: str = "",
    **query: str,
) -> T:
    """Send a GET request, and return what *read* takes from the JSON in the response.

    A server may answer anything, so no other place parses an answer.

    Args:
        address: See :func:`fetch`.
        path: See :func:`fetch`.
        read: Returns what is wanted from the JSON value; it may raise anything if that is not there.
        what: What is wanted, for the error, such as ``list of topics``.
        timeout_s: See :func:`fetch`.
        token: See :func:`fetch`.
        query: See :func:`fetch`.

    Raises:
        ConnectionLostError: Also if the response is not JSON, or *read* raises.
        RefusedError: If the status is not 200.
        SettingsError: If *address* is not a host and a port.
    """
    body = await fetch(address, path, timeout_s=timeout_s, token=token, **query)
    try:
        return read(json.loads(body))
    except Exception as error:  # 100,000 "[" raise RecursionError, for example
        why = not_json(body) or f"{body[:64]!r}: {peer_text(f'{type(error).__name__}: {error}')}"
        raise ConnectionLostError(address, f"{path} has no {what}: {why}") from error


def listed(value: Any) -> list[Any]:
    """Return a list in an answer; empty for null, as Go writes a list that was never made.

    To check each entry of a longer one would block the event loop for seconds.

    Raises:
        TypeError: If it is no list.
        ValueError: If it has more than 200,000 entries.
    """
    if not isinstance(value, list | None):
        raise TypeError("not a list")
    if value and len(value) > _MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries")
    return value or []


async def _answer(address: str, path: str, method: str, timeout_s: float, token: str = "") -> HTTPResponse:
    """Return the response to a request, whatever its status.

    Raises:
        ConnectionLostError: If there is no HTTP response.
        SettingsError: If *address* is not a host and a port.
    """
    split_address(address)
    try:
        while (response := await _response(f"http://{address}{path}", method, timeout_s, token)) is None:
            pass
    except (ConnectionResetError, HTTPStreamClosedError) as error:
        why = await tcp_port_at(address, min(timeout_s, _GUESS_S)) or f"no answer over HTTP: {error}"
        raise ConnectionLostError(address, why) from error
    except OSError as error:
        raise ConnectionLostError(address, reason(error)) from error
    except Exception as error:  # a hostile server makes tornado raise anything
        raise ConnectionLostError(address, f"no answer over HTTP: {peer_text(str(error))}") from error
    return response


async def _response(url: str, method: str, timeout_s: float, token: str) -> HTTPResponse | None:
    """Return the response to a request; None if it timed out because the event loop was blocked."""
    # The shared client runs ten requests at a time: a silent server would delay all other requests.
    client = AsyncHTTPClient(
        force_instance=True,
        resolver=_RESOLVER,
        max_body_size=_MAX_BODY_BYTES,
        max_header_size=_MAX_HEADER_BYTES,
    )
    time = LoopTime(timeout_s)
    try:
        request = client.fetch(
            url,
            raise_error=False,
            method=method,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            body=b"" if method == "POST" else None,
            decompress_response=False,
            follow_redirects=False,  # no server of NSQ redirects, and a hostile one could name any other
            connect_timeout=timeout_s,
            request_timeout=timeout_s,
        )
        return await asyncio.shield(request)
    except asyncio.CancelledError:
        await _ended(request)
        raise
    except HTTPTimeoutError:
        if time.is_nearly_over:
            raise
        return None
    finally:
        time.cancel()
        client.close()


async def _ended(request: asyncio.Future[HTTPResponse]) -> None:
    """Wait for the end of a request, however often this is cancelled.

    Tornado cannot abort a request, and would leave its socket open.
    """
    while not request.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((request,))
    if not request.cancelled():
        request.exception()  # nobody awaits it, and asyncio would complain


def _code(response: HTTPResponse) -> str:
    # nsqd and nsqlookupd answer {"message": "CODE"}; a proxy may answer anything.
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        answer = None
    return peer_text(str(answer.get("message", "")) if isinstance(answer, dict) else response.reason)


def _object(answer: Any) -> dict[str, object]:
    if not isinstance(answer, dict):
        raise TypeError("not a JSON object")
    return answer


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
        return await self.read_stats(_object, topic)

    async def read_stats(
        self, read: Callable[[Any], T], topic: str | None = None, *, with_clients: bool = False
    ) -> T:
        """Return what *read* takes from nsqd's statistics, as :func:`fetch_json` does.

        Args:
            read: See :func:`fetch_json`.
            topic: The topic; None for all.
            with_clients: Whether to ask for the clients of each channel, too.

        Raises:
            ConnectionLostError: Also if *read* raises.
        """
        clients = "true" if with_clients else "false"
        query = {"format": "json", "include_clients": clients, "include_mem": "false"}
        if topic is not None:
            query["topic"] = topic
        return await fetch_json(
            self.address, "/stats", read, "statistics of nsqd", timeout_s=self._timeout_s, **query
        )

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
        return int(answer) if answer.isdigit() and len(answer) <= _MAX_DIGITS else None

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

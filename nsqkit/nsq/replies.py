"""Pending replies: requests that nsqd has not answered yet. No I/O."""

import asyncio
from collections import deque
from collections.abc import Callable

from nsqkit.errors import NsqkitError

Reply = asyncio.Future[bytes]


class PendingReplies:
    """Matches nsqd's answers to requests: nsqd answers in the order of the commands."""

    __slots__ = ("_replies",)

    def __init__(self) -> None:
        self._replies: deque[Reply] = deque()

    def add(self) -> Reply:
        """Return a future of the answer to the request that was just sent."""
        reply: Reply = asyncio.get_running_loop().create_future()
        self._replies.append(reply)
        return reply

    def answer(self, data: bytes) -> bool:
        """Answer the oldest request, and return whether there was one."""
        if not self._replies:
            return False
        reply = self._replies.popleft()
        if not reply.done():  # the caller may have cancelled it
            reply.set_result(data)
        return True

    def fail(self, first: NsqkitError, others: Callable[[], NsqkitError]) -> None:
        """Fail all requests.

        Args:
            first: Error of the oldest request, the only one that nsqd refused. pynsq's Writer would fail all
                requests with it.
            others: Creates an error for each of the other requests.
        """
        error = first
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(error)
            error = others()


def failed_reply(error: NsqkitError) -> Reply:
    """Return a failed future for a request that could not be sent."""
    reply: Reply = asyncio.get_running_loop().create_future()
    reply.set_exception(error)
    return reply

"""PendingReplies: requests that nsqd has not answered yet. No I/O."""

import asyncio
from collections import deque
from collections.abc import Callable

from nsqkit.errors import NsqkitError

Reply = asyncio.Future[bytes]


class PendingReplies:
    """Pairs nsqd's answers with requests: nsqd answers in the order of the commands."""

    __slots__ = ("_replies",)

    def __init__(self) -> None:
        self._replies: deque[Reply] = deque()

    def add(self) -> Reply:
        """Return the answer to come to a request that was sent just now."""
        reply: Reply = asyncio.get_running_loop().create_future()
        self._replies.append(reply)
        return reply

    def answer(self, data: bytes) -> bool:
        """Answer the oldest request, and return whether there was one."""
        if not self._replies:
            return False
        reply = self._replies.popleft()
        if not reply.done():  # its caller may have given up
            reply.set_result(data)
        return True

    def fail(self, first: NsqkitError, others: Callable[[], NsqkitError]) -> None:
        """Fail all requests.

        Args:
            first: The error of the oldest; only that one is to blame for a refusal. pynsq's Writer fails them
                all with it.
            others: Makes an error for each of the others.
        """
        error = first
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(error)
            error = others()


def failed_reply(error: NsqkitError) -> Reply:
    """Return the answer to a request that could not be sent."""
    reply: Reply = asyncio.get_running_loop().create_future()
    reply.set_exception(error)
    return reply

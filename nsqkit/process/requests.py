"""Requests: what a parent asks its child worker over their link, and what the child reports by itself.

Each message is one line of JSON. The parent's have an ``id``, which the answer repeats; those that the child
sends by itself have an ``event``. The module knows no question and no event.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from nsqkit.errors import NsqkitError
from nsqkit.policy.redaction import describe

ANSWER_S: Final = 2.0
"""Seconds that a child has for an answer; after that its event loop is taken for blocked."""

Message = Mapping[str, Any]


class NoAnswerError(NsqkitError):
    """A child worker does not answer, or its answer is an error."""


class Requests:
    """The parent's end.

    Args:
        reader: Receives answers and events.
        writer: Sends questions.
        on_event: Called with each event.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: Callable[[Message], object],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._is_open = True

    async def ask(self, question: str, **arguments: object) -> Any:
        """Ask the child, and return its answer.

        Args:
            question: Name of a function that the child has given to :class:`Answers`.
            **arguments: Its arguments; values that JSON has.

        Raises:
            NoAnswerError: If the child does not answer within ``ANSWER_S``, has ended, or answers an error.
        """
        if not self._is_open:
            raise NoAnswerError("does not answer")
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(_line({"id": number, "ask": question, "arguments": arguments}))
            async with asyncio.timeout(ANSWER_S):
                message = await answer
        except (TimeoutError, ConnectionError):
            raise NoAnswerError("does not answer") from None
        finally:
            del self._waiting[number]
        if "error" in message:
            raise NoAnswerError(message["error"])
        return message["answer"]

    async def read(self) -> None:
        """Read answers and events until the child closes the link.

        Raises:
            Exception: If a line is not a message, or too long.
        """
        try:
            while line := await self._next_line():
                self._receive(json.loads(line))
        finally:
            self._is_open = False
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError())

    def _receive(self, message: Message) -> None:
        if "event" in message:
            self._on_event(message)
        elif (waiting := self._waiting.get(message.get("id", 0))) is not None and not waiting.done():
            waiting.set_result(message)

    async def _next_line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""


class Answers:
    """The child's end.

    Args:
        reader: Receives questions.
        writer: Sends answers and events.
        calls: Functions that answer, plain or async, by question; they return values that JSON has.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        calls: Mapping[str, Callable[..., object]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._calls = calls

    def tell(self, event: str, **fields: object) -> None:
        """Report something to the parent that it has not asked for."""
        self._writer.write(_line({"event": event, **fields}))

    async def serve(self) -> None:
        """Answer questions until the parent closes the link; one that takes a while delays no other."""
        async with asyncio.TaskGroup() as answering:
            while line := await self._reader.readline():
                answering.create_task(self._answer(json.loads(line)))

    async def _answer(self, question: Message) -> None:
        try:
            answer = self._calls[question["ask"]](**question["arguments"])
            message = {"answer": await answer if isinstance(answer, Awaitable) else answer}
        except Exception as error:  # noqa: BLE001 - the parent shows it; the worker goes on
            message = {"error": f"does not answer: {describe(error)}"}
        self._writer.write(_line({"id": question["id"], **message}))


def _line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"

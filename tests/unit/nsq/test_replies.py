"""Pending replies: answers go to requests in their order, and a failure reaches all that are left."""

from itertools import count

import pytest

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.replies import PendingReplies, failed_reply


async def test_the_oldest_request_is_answered_even_if_its_caller_has_given_up() -> None:
    replies = PendingReplies()
    first, second = replies.add(), replies.add()
    first.cancel()
    assert replies.answer(b"1")
    assert replies.answer(b"2")
    assert await second == b"2"
    assert not replies.answer(b"3")


async def test_only_the_oldest_is_to_blame_for_a_refusal() -> None:
    numbers = count()

    def other() -> NsqkitError:
        return ConnectionLostError("nsqd:4150", f"lost {next(numbers)}")

    replies = PendingReplies()
    first, second, third = replies.add(), replies.add(), replies.add()
    replies.fail(RefusedError("nsqd:4150", "E_BAD_TOPIC", "no"), other)
    assert isinstance(first.exception(), RefusedError)
    assert [str(each.exception()) for each in (second, third)] == [
        "nsqd nsqd:4150: lost 0",
        "nsqd nsqd:4150: lost 1",
    ]


async def test_a_request_that_could_not_be_sent_fails() -> None:
    with pytest.raises(ConnectionLostError):
        await failed_reply(ConnectionLostError("nsqd:4150", "closed by this process"))

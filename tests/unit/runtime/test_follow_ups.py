"""Follow-ups: the messages of one handler leave in one command for each topic, all at once."""

import asyncio
from collections.abc import Sequence

import pytest

from nsqkit import PublishError
from nsqkit.handler.outgoing import Outgoing
from nsqkit.runtime import follow_ups
from nsqkit.runtime.follow_ups import publish_together
from tests.waiting import turns

NSQD = "nsqd:4150"


class Nsqd:
    """Takes commands, and answers none until it is open; refuses the topic ``bad``."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, tuple[bytes, ...], float]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        await self._take(topic, (body,), defer_s)

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        await self._take(topic, tuple(bodies), 0.0)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        raise NotImplementedError

    async def _take(self, topic: str, bodies: tuple[bytes, ...], defer_s: float) -> None:
        self.commands.append((topic, bodies, defer_s))
        await self.is_open.wait()
        if topic == "bad":
            raise PublishError(topic, NSQD, "refused", True)


async def test_each_topic_is_one_command_and_a_deferred_message_one_of_its_own() -> None:
    nsqd = Nsqd()
    outgoing = [
        Outgoing("a", b"1"),
        Outgoing("b", b"2"),
        Outgoing("a", b"3", defer_s=5.0),
        Outgoing("a", b"4"),
        Outgoing("a", b"5"),
    ]
    await publish_together(nsqd, NSQD, outgoing)
    assert sorted(nsqd.commands) == [
        ("a", (b"1", b"4", b"5"), 0.0),
        ("a", (b"3",), 5.0),
        ("b", (b"2",), 0.0),
    ]


async def test_all_commands_are_sent_before_the_first_is_confirmed() -> None:
    nsqd = Nsqd()
    nsqd.is_open.clear()
    publishing = asyncio.create_task(publish_together(nsqd, NSQD, [Outgoing(t, b"1") for t in "abc"]))
    await turns(3)
    assert [topic for topic, *_ in nsqd.commands] == ["a", "b", "c"]
    nsqd.is_open.set()
    await publishing


async def test_more_than_a_command_takes_is_split_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_ups, "MAX_COMMAND_BYTES", 10)
    nsqd = Nsqd()
    bodies = [b"aaaa", b"bbbb", b"cccc", b"dddddddddddd", b"e"]
    await publish_together(nsqd, NSQD, [Outgoing("a", body) for body in bodies])
    assert [command for _, command, _ in nsqd.commands] == [
        (b"aaaa", b"bbbb"),
        (b"cccc",),
        (b"dddddddddddd",),
        (b"e",),
    ]


async def test_a_refusal_is_raised_when_all_others_have_their_answers() -> None:
    ends: dict[str, BaseException | None] = {}

    def told(name: str) -> Outgoing:
        return Outgoing(name, b"1", when_done=(lambda error: ends.update({name: error}),))

    with pytest.raises(PublishError, match="refused") as caught:
        await publish_together(Nsqd(), NSQD, [told("bad"), told("good")])
    assert ends == {"bad": caught.value, "good": None}

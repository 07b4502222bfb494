"""One topic: its channels, and the messages that wait for them. Pure: the time is passed in."""

from collections import deque
from typing import TYPE_CHECKING

from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Message
from nsqkit.policy.names import is_ephemeral

if TYPE_CHECKING:
    from nsqkit.devbroker.channel import Channel


class Topic:
    """One topic: its channels, and a backlog while it has none or is paused.

    A topic that is not ``started`` gives its channels no messages yet: nsqlookupd is still asked for
    the names of further channels.

    Source:
        nsqd/topic.go.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.ephemeral = is_ephemeral(name)
        self.paused = False
        self.started = True
        self.channels: dict[str, Channel] = {}
        self.backlog: deque[Message] = deque()
        self.message_count = 0
        self.message_bytes = 0
        self._limits = limits

    def put(self, message: Message, *, now_s: float) -> None:
        """Give each channel a copy of a message, or add it to the backlog."""
        self.message_count += 1
        self.message_bytes += len(message.body)
        if self.channels and self.started and not self.paused:
            self._fan_out(message, now_s)
        elif not self.ephemeral or len(self.backlog) < self._limits.mem_queue_size:
            self.backlog.append(message)

    def fan_out(self, *, now_s: float) -> None:
        """Give the backlog to the channels, unless there are none or the topic is paused or not started."""
        while self.backlog and self.channels and self.started and not self.paused:
            self._fan_out(self.backlog.popleft(), now_s)

    def _fan_out(self, message: Message, now_s: float) -> None:
        for channel in self.channels.values():
            channel.put(message, now_s=now_s)

"""Journal: what happened to the messages of one harness, for assertions and for people to read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nsqkit.errors import PublishError
from nsqkit.events.codec import loads
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.names import dead_topic
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.runtime.delivery import Delivery

_WORDS = {
    OutcomeLabel.SUCCESS: "handled",
    OutcomeLabel.REQUEUE: "requeued",
    OutcomeLabel.DEAD_LETTER: "dead-lettered",
    OutcomeLabel.DISCARD: "discarded",
    OutcomeLabel.DUPLICATE: "finished as a duplicate",
    OutcomeLabel.LEASE_LOST: "lost (its lease or its connection ended)",
}
_LONGEST = 200
_MOST_STORIES = 20


@dataclass(frozen=True, slots=True)
class Settled:
    """One delivery as it ended.

    Args:
        handler: The handler's class.
        topic: Its source topic.
        channel: Its channel.
        message_id: nsqd's id.
        attempts: Deliveries of the message, this one included.
        event: As decoded; None where the body was not decoded.
        outcome: ``success``, ``requeue``, ``dead_letter``, ``discard``, ``duplicate`` or ``lease_lost``.
        reason: Of a requeue or a dead letter, as in the metrics; else empty.
        delay_s: Of a requeue, seconds.
        detail: One line, redacted; may be empty.
        error: What the handler or the decoder raised; else None.
        at_s: When, in seconds of the harness's clock.
    """

    handler: type[AnyHandler[Any]]
    topic: str
    channel: str
    message_id: str
    attempts: int
    event: Any
    outcome: str
    reason: str
    delay_s: float
    detail: str
    error: BaseException | None
    at_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that a handler published, and that was confirmed.

    Args:
        handler: The handler's class.
        topic: Where to.
        body: As encoded.
        defer_s: For how many seconds it is held back.
    """

    handler: type[AnyHandler[Any]]
    topic: str
    body: bytes
    defer_s: float


@dataclass(slots=True, eq=False)
class Story:
    """What is known of one message, a line for each thing that happened to it."""

    topic: str
    body: bytes
    event: Any = None
    message_id: str = ""
    is_told: bool = True
    lines: list[tuple[float, str]] = field(default_factory=list)

    def text(self) -> str:
        """Return its title and its lines."""
        what = repr(self.event) if self.event is not None else self.body.decode("utf-8", "backslashreplace")
        shown = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…"
        title = " ".join(part for part in (self.topic, self.message_id, shown) if part)
        return "\n".join([title, *(f"  {at_s:10.3f} s  {line}" for at_s, line in self.lines)])


class Journal:
    """Everything that happened, in order.

    Args:
        elapsed_s: The harness's clock.
        subscribed: The topics that have a handler.

    Attributes:
        settled: Every delivery that ended.
        sent: Every message that a handler published, dead letters left out.
    """

    def __init__(self, elapsed_s: Callable[[], float], subscribed: frozenset[str]) -> None:
        self.settled: list[Settled] = []
        self.sent: list[Sent] = []
        self._elapsed_s = elapsed_s
        self._subscribed = subscribed
        self._stories: list[Story] = []
        self._undelivered: list[Story] = []
        self._by_id: dict[tuple[str, str], Story] = {}

    def published(self, topic: str, body: bytes, event: Any, defer_s: float) -> None:
        """Note what the test published."""
        self._begin(Story(topic, body, event), "the test", defer_s)

    def follows(self, spec: HandlerSpec, topic: str, body: bytes, defer_s: float) -> Story:
        """Note what a handler is about to publish."""
        story = Story(topic, body, is_told=not _is_dead_letter(spec, topic))
        self._begin(story, spec.name, defer_s)
        return story

    def followed(self, spec: HandlerSpec, topic: str, body: bytes, defer_s: float) -> None:
        """Note what was confirmed."""
        if not _is_dead_letter(spec, topic):
            self.sent.append(Sent(spec.handler, topic, body, defer_s))

    def unconfirmed(self, story: Story, error: PublishError) -> None:
        """Note what was not."""
        self._tell(story, f"not confirmed: {error.reason}")

    def delivered(self, spec: HandlerSpec, message: Any) -> None:
        """Note a delivery, a message of nsqd's adapter or of the ledger."""
        story = self._story(message.topic, message.id.decode("ascii", "replace"), message.body)
        self._tell(story, f"delivered to {spec.name}, attempt {message.attempts}")

    def ended(
        self, spec: HandlerSpec, delivery: Delivery, verdict: Verdict, error: BaseException | None
    ) -> None:
        """Note how a delivery ended."""
        message: Any = delivery.message
        story = self._story(message.topic, delivery.message_id, message.body)
        if delivery.decoded is not None and story.event is None:
            story.event = delivery.decoded.event
        settled = Settled(
            handler=spec.handler,
            topic=spec.topic,
            channel=spec.channel,
            message_id=delivery.message_id,
            attempts=message.attempts,
            event=delivery.decoded.event if delivery.decoded else None,
            outcome=str(verdict.label),
            reason=str(verdict.reason),
            delay_s=verdict.delay_s,
            detail=str(verdict.detail),
            error=error,
            at_s=self._elapsed_s(),
        )
        self.settled.append(settled)
        outgoing = delivery.ctx.outgoing if delivery.ctx and verdict.label is OutcomeLabel.SUCCESS else ()
        for each in outgoing:
            self._tell(story, f"{spec.name} published {_type_of(each.body)} to {each.topic}")
        self._tell(story, _ending(settled, verdict.label))

    def longest_wait_s(self) -> float:
        """Return in how many seconds the last requeued message falls due; 0 if none is deferred."""
        due_s = max((each.at_s + each.delay_s for each in self.settled), default=0.0)
        return max(0.0, due_s - self._elapsed_s())

    def text(self, event: object = None) -> str:
        """Return the history of every message, or of those with an event like this one.

        Args:
            event: A class of events, or an event; None for all, and all where there is none like it.
        """
        told = [story for story in self._stories if story.is_told]
        wanted = [story for story in told if is_like(story.event, event)] or told
        parts = [story.text() for story in wanted[:_MOST_STORIES]]
        if len(wanted) > _MOST_STORIES:
            parts.append(f"… and {len(wanted) - _MOST_STORIES:,} messages more")
        return "\n".join(parts or ["no message was published"])

    def _begin(self, story: Story, by: str, defer_s: float) -> None:
        deferred = f", deferred for {defer_s:g} s" if defer_s else ""
        unread = "" if story.topic in self._subscribed else "; no handler here reads this topic"
        self._tell(story, f"published by {by}{deferred}{unread}")
        self._stories.append(story)
        self._undelivered.append(story)

    def _story(self, topic: str, message_id: str, body: bytes) -> Story:
        """Return a message's story; at its first delivery, the oldest of those published like it."""
        story = self._by_id.get((topic, message_id))
        if story is None:
            story = next(self._published_as(topic, body), None)
            if story is None:
                story = Story(topic, body)
                self._stories.append(story)
            else:
                self._undelivered.remove(story)
            story.message_id, story.is_told = message_id, True
            self._by_id[topic, message_id] = story
        return story

    def _published_as(self, topic: str, body: bytes) -> Iterator[Story]:
        return (story for story in self._undelivered if (story.topic, story.body) == (topic, body))

    def _tell(self, story: Story, line: str) -> None:
        story.lines.append((self._elapsed_s(), line))


def is_like(event: Any, wanted: object) -> bool:
    """Return whether an event is of a class, or equal to another event; None wants any."""
    if wanted is None:
        return True
    return isinstance(event, wanted) if isinstance(wanted, type) else bool(event == wanted)


def _ending(settled: Settled, ending: OutcomeLabel) -> str:
    line = f"{_WORDS[ending]} by {settled.handler.__name__}"
    if ending is OutcomeLabel.REQUEUE:
        line += f" for {settled.delay_s:g} s, until {settled.at_s + settled.delay_s:.3f} s"
    if settled.reason:
        line += f", reason {settled.reason}"
    return f"{line}: {settled.detail}" if settled.detail else line


def _is_dead_letter(spec: HandlerSpec, topic: str) -> bool:
    return topic == dead_topic(spec.topic, spec.channel)


def _type_of(body: bytes) -> str:
    return str(loads(body)["type"])

"""The journal of one harness: what happened to its messages, for assertions and for people to read."""

from collections.abc import Callable, Iterator
from typing import Any

from nsqkit.errors import PublishError
from nsqkit.events.body import Body
from nsqkit.events.typed import Typed
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.names import dead_topic
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.runtime.delivery import Delivery
from nsqkit.testing.message_history import MessageHistory
from nsqkit.testing.records import Sent, Settled

_WORDS = {
    OutcomeLabel.SUCCESS: "handled",
    OutcomeLabel.REQUEUE: "requeued",
    OutcomeLabel.DEAD_LETTER: "dead-lettered",
    OutcomeLabel.DISCARD: "discarded",
    OutcomeLabel.DUPLICATE: "finished as a duplicate",
    OutcomeLabel.LEASE_LOST: "lost (its lease or its connection ended)",
}
_MOST_SHOWN = 20


class Journal:
    """Everything that happened, in order.

    Args:
        elapsed_s: Returns the seconds on the harness's clock.
        subscribed: The topics that a handler of this harness reads.

    Attributes:
        settled: Every delivery that has an outcome.
        sent: Every confirmed publish of a handler, without dead letters.
    """

    def __init__(self, elapsed_s: Callable[[], float], subscribed: frozenset[str]) -> None:
        self.settled: list[Settled] = []
        self.sent: list[Sent] = []
        self._elapsed_s = elapsed_s
        self._due_s = 0.0
        self._subscribed = subscribed
        self._histories: list[MessageHistory] = []
        self._undelivered: list[MessageHistory] = []
        self._by_id: dict[tuple[str, str], MessageHistory] = {}

    def published(self, topic: str, body: bytes, event: Any, defer_s: float) -> None:
        """Record a publish of the test."""
        self._begin(MessageHistory(topic, body, event), "the test", defer_s)

    def publishing(self, spec: HandlerSpec, topic: str, body: bytes, defer_s: float) -> MessageHistory:
        """Record that a handler is about to publish."""
        history = MessageHistory(topic, body, is_shown=not _is_dead_letter(spec, topic))
        self._begin(history, spec.name, defer_s)
        return history

    def confirmed(self, spec: HandlerSpec, topic: str, body: bytes, defer_s: float) -> None:
        """Record that nsqd confirmed a handler's publish."""
        if not _is_dead_letter(spec, topic):
            self.sent.append(Sent(spec.handler, topic, body, defer_s))

    def unconfirmed(self, history: MessageHistory, error: PublishError) -> None:
        """Record that a handler's publish was not confirmed."""
        self._add_line(history, f"not confirmed: {error.reason}")

    def delivered(self, spec: HandlerSpec, message: Any) -> None:
        """Record a delivery; *message* is nsqd's or the ledger's."""
        history = self._history(message.topic, message.id.decode("ascii", "replace"), message.body)
        self._add_line(history, f"delivered to {spec.name}, attempt {message.attempts}")

    def ended(
        self, spec: HandlerSpec, delivery: Delivery, verdict: Verdict, error: BaseException | None
    ) -> None:
        """Record the outcome of a delivery."""
        message: Any = delivery.message
        history = self._history(message.topic, delivery.message_id, message.body)
        if delivery.decoded is not None and history.event is None:
            history.event = delivery.decoded.event
        settled = Settled(
            handler=spec.handler,
            topic=spec.topic,
            channel=spec.channel,
            message_id=delivery.message_id,
            attempts=delivery.deliveries,
            event=delivery.decoded.event if delivery.decoded else None,
            outcome=str(verdict.label),
            reason=str(verdict.reason),
            delay_s=verdict.delay_s,
            detail=str(verdict.detail),
            error=error,
            at_s=self._elapsed_s(),
        )
        self.settled.append(settled)
        if not verdict.is_stored:
            self._due_s = max(self._due_s, settled.at_s + settled.delay_s)
        outgoing = delivery.ctx.outgoing if delivery.ctx and verdict.label is OutcomeLabel.SUCCESS else ()
        for each in outgoing:
            self._add_line(history, f"{spec.name} published {_type_of(each.body)} to {each.topic}")
        self._add_line(history, _ending(settled, verdict.label))

    def longest_wait_s(self) -> float:
        """Return the seconds until nsqd's last requeued message is due; 0 if none is deferred."""
        return max(0.0, self._due_s - self._elapsed_s())

    def text(self, event: object = None) -> str:
        """Return the history of every message, or of those with an event like this one.

        Args:
            event: A class of events, or an event; None for all. Without a match, all are returned.
        """
        shown = [history for history in self._histories if history.is_shown]
        wanted = [history for history in shown if is_like(history.event, event)] or shown
        parts = [history.text() for history in wanted[:_MOST_SHOWN]]
        if len(wanted) > _MOST_SHOWN:
            parts.append(f"… and {len(wanted) - _MOST_SHOWN:,} more messages")
        return "\n".join(parts or ["no message was published"])

    def _begin(self, history: MessageHistory, by: str, defer_s: float) -> None:
        deferred = f", deferred for {defer_s:g} s" if defer_s else ""
        unread = "" if history.topic in self._subscribed else "; no handler here reads this topic"
        self._add_line(history, f"published by {by}{deferred}{unread}")
        self._histories.append(history)
        self._undelivered.append(history)

    def _history(self, topic: str, message_id: str, body: bytes) -> MessageHistory:
        """Return a message's history; at its first delivery, that of the oldest equal publish."""
        history = self._by_id.get((topic, message_id))
        if history is None:
            history = next(self._published_as(topic, body), None)
            if history is None:
                history = MessageHistory(topic, body)
                self._histories.append(history)
            else:
                self._undelivered.remove(history)
            history.message_id, history.is_shown = message_id, True
            self._by_id[topic, message_id] = history
        return history

    def _published_as(self, topic: str, body: bytes) -> Iterator[MessageHistory]:
        return (history for history in self._undelivered if (history.topic, history.body) == (topic, body))

    def _add_line(self, history: MessageHistory, line: str) -> None:
        history.lines.append((self._elapsed_s(), line))


def is_like(event: Any, wanted: object) -> bool:
    """Return whether an event is of a class, or equal to another event; None matches any."""
    if wanted is None:
        return True
    if isinstance(wanted, Typed):
        return bool(event == wanted.event)
    if (required := getattr(wanted, "__required_keys__", None)) is not None:  # a TypedDict
        return isinstance(event, dict) and required <= event.keys() <= required | _optional_keys(wanted)
    return isinstance(event, wanted) if isinstance(wanted, type) else bool(event == wanted)


def _optional_keys(kind: Any) -> frozenset[str]:
    found: frozenset[str] = kind.__optional_keys__
    return found


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
    return Body.read(body).attribute("type") or "bytes"

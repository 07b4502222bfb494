"""The questions that a test may ask about its messages; answered from the journal."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from nsqkit.errors import DecodeError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.envelope import read_envelope
from nsqkit.events.typed import Typed
from nsqkit.events.types import REGISTRY, EventType
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.verdict import DeadLetterReason, OutcomeLabel, RequeueReason
from nsqkit.testing.errors import HarnessError
from nsqkit.testing.found import Found, question
from nsqkit.testing.journal import Journal, is_like
from nsqkit.testing.records import Sent, Settled

WITHIN_S = 0.001
"""The tolerance for delays, which are whole milliseconds on the wire."""


class Questions:
    """Questions about a journal; end each with ``.once()``, ``.times(n)`` or ``.never()``.

    Args:
        specs: The handlers that may be asked about.
        journal: The record of what happened.
    """

    def __init__(self, specs: Sequence[HandlerSpec], journal: Journal) -> None:
        self._specs = specs
        self._journal = journal
        self._asked: list[Found[Any]] = []

    def handled(self, event: object = None, *, by: type[AnyHandler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries with the outcome success. Go on with ``.once()``, ``.times(n)`` or ``.never()``.

        Args:
            event: A class of events, or an equal event; None for any delivery, even without an event.
            by: The handler class; by default any.

        Raises:
            EventError: If *event* is not an event or a class of events.
            HarnessError: If *by* is not in this harness.
        """
        return self._ended(OutcomeLabel.SUCCESS, event, question("handled", event, by=by), by=by)

    def requeued(
        self,
        event: object = None,
        *,
        by: type[AnyHandler[Any]] | None = None,
        delay_s: float | None = None,
        reason: str | None = None,
    ) -> Found[Settled]:
        """Ask for deliveries that were requeued; go on as after ``handled``.

        Args:
            event: As for ``handled``.
            by: As for ``handled``.
            delay_s: The delay in seconds, to the millisecond; by default any.
            reason: A reason such as ``"error"``, ``"timeout"`` or ``"requested"``; by default any.

        Raises:
            EventError: If *event* is not an event or a class of events.
            HarnessError: If *by* is not in this harness.
            ValueError: If there is no such reason.
        """
        asked = question("requeued", event, by=by, delay_s=delay_s, reason=reason)
        known = None if reason is None else RequeueReason(reason)
        return self._ended(OutcomeLabel.REQUEUE, event, asked, by=by, reason=known, delay_s=delay_s)

    def dead_lettered(
        self,
        event: object = None,
        *,
        by: type[AnyHandler[Any]] | None = None,
        reason: str | None = None,
    ) -> Found[Settled]:
        """Ask for deliveries that became confirmed dead letters; go on as after ``handled``.

        Args:
            event: As for ``handled``.
            by: As for ``handled``.
            reason: A reason such as ``"exhausted"``, ``"rule"`` or ``"undecodable"``; by default any.

        Raises:
            EventError: If *event* is not an event or a class of events.
            HarnessError: If *by* is not in this harness.
            ValueError: If there is no such reason.
        """
        asked = question("dead_lettered", event, by=by, reason=reason)
        known = None if reason is None else DeadLetterReason(reason)
        return self._ended(OutcomeLabel.DEAD_LETTER, event, asked, by=by, reason=known)

    def discarded(self, event: object = None, *, by: type[AnyHandler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries that were discarded; arguments and errors as for ``handled``."""
        return self._ended(OutcomeLabel.DISCARD, event, question("discarded", event, by=by), by=by)

    def duplicated(self, event: object = None, *, by: type[AnyHandler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries that were finished as duplicates; arguments and errors as for ``handled``."""
        return self._ended(OutcomeLabel.DUPLICATE, event, question("duplicated", event, by=by), by=by)

    def lost(self, event: object = None, *, by: type[AnyHandler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries whose lease or connection ended before an answer (outcome ``lease_lost``).

        Arguments and errors as for ``handled``.
        """
        return self._ended(OutcomeLabel.LEASE_LOST, event, question("lost", event, by=by), by=by)

    def published(
        self, event: object, *, by: type[AnyHandler[Any]] | None = None, topic: str | None = None
    ) -> Found[Any]:
        """Ask for confirmed events of handlers, decoded from their bodies; go on as after ``handled``.

        Args:
            event: A class of events, or an equal event.
            by: The handler class; by default any.
            topic: The topic that they were published to; by default any.

        Raises:
            DecodeError: If an event of that type cannot be decoded.
            EventError: If *event* is not an event or a class of events.
            HarnessError: If *by* is not in this harness.
        """
        known = _event_type(event)
        self._require_handler(by)
        found = [
            (sent.handler.__name__, read)
            for sent in self._journal.sent
            if by in {None, sent.handler} and topic in {None, sent.topic}
            for read in _read(sent, known)
            if is_like(read, event)
        ]
        asked = question("published", event, by=by, topic=topic)
        return self._found(asked, [each for _, each in found], [owner for owner, _ in found], None)

    def history(self, event: object = None) -> str:
        """Return the history of every message, or of those with an event like this one, as lines of text."""
        return self._journal.text(event)

    def _ended(
        self,
        ending: OutcomeLabel,
        event: object,
        asked: str,
        *,
        by: type[AnyHandler[Any]] | None,
        reason: str | None = None,
        delay_s: float | None = None,
    ) -> Found[Settled]:
        if event is not None:
            _event_type(event)
        self._require_handler(by)
        found = [
            each
            for each in self._journal.settled
            if each.outcome == ending
            and is_like(each.event, event)
            and by in {None, each.handler}
            and reason in {None, each.reason}
            and (delay_s is None or math.isclose(each.delay_s, delay_s, abs_tol=WITHIN_S))
        ]
        return self._found(asked, found, [each.handler.__name__ for each in found], event)

    def _found(self, asked: str, items: Sequence[Any], owners: Sequence[str], event: object) -> Found[Any]:
        found = Found(asked, items, owners=owners, history=partial(self.history, event))
        self._asked.append(found)
        return found

    def _require_handler(self, kind: type[AnyHandler[Any]] | None) -> None:
        if kind is not None and kind not in {spec.handler for spec in self._specs}:
            names = ", ".join(spec.name for spec in self._specs)
            raise HarnessError(f"{kind.__name__} is not in this harness, which has {names}")

    def _require_answers_used(self) -> None:
        __tracebackhide__ = True
        unused = [found.question for found in self._asked if not found.is_used]
        if unused:
            raise HarnessError(
                f"h.{unused[0]} alone checks nothing: go on with .once(), .times(n) or .never()"
            )


def _event_type(event: object) -> EventType:
    if isinstance(event, Typed):
        return REGISTRY.of(event.event_class)
    return REGISTRY.of(event if isinstance(event, type) else type(event))


def _read(sent: Sent, known: EventType) -> Iterator[Any]:
    """Yield the decoded event if it is of this type."""
    envelope = read_envelope(sent.body)
    if envelope is not None and envelope.type == known.wire_type:
        yield Decoder(sent.topic, (known,)).decode(sent.body).event
    elif envelope is None and not known.is_enveloped:
        with suppress(DecodeError):  # bare bytes of another type
            yield Decoder(sent.topic, (known,)).decode(sent.body).event

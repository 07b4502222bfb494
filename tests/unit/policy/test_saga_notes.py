"""The first words of a line of a timeline decide its kind, whatever the reason in it says."""

import pytest

from nsqkit.policy.saga_notes import NoteKind, kind_of


@pytest.mark.parametrize(
    ("note", "kind"),
    [
        ("version 1 begun", NoteKind.STEP),
        ("charge started, attempt 2", NoteKind.STEP),
        ("charge is called, attempt 1", NoteKind.STEP),
        ("resumed", NoteKind.STEP),
        ("charge succeeded", NoteKind.DONE),
        ("charge succeeded by card.charged.v1", NoteKind.DONE),
        ("charge was refused by card.declined.v1: over the limit", NoteKind.BAD),
        ("confirm sent", NoteKind.DONE),
        ("completed", NoteKind.DONE),
        ("compensated", NoteKind.DONE),
        ("charge failed: no answer within 60 s; again in 1 s", NoteKind.BAD),
        ("charge was refused: over the limit", NoteKind.BAD),
        ("re-serve/undo failed for good: no route", NoteKind.BAD),
        ("compensating: charge failed: no answer", NoteKind.UNDO),
        ("reserve/undo started, attempt 1", NoteKind.UNDO),
        ("reserve/undo succeeded", NoteKind.UNDO),
        ("needs attention: charge/undo was refused: too late", NoteKind.ATTENTION),
    ],
)
def test_kinds(note: str, kind: NoteKind) -> None:
    assert kind_of(note) is kind

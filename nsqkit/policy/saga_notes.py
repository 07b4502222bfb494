"""Saga notes: what kind of event a line of an instance's timeline tells. It writes none."""

import re
from enum import StrEnum
from typing import Final


class NoteKind(StrEnum):
    """What a line tells, as far as a reader looks for it."""

    STEP = "step"
    DONE = "done"
    BAD = "bad"
    UNDO = "undo"
    ATTENTION = "attention"


_BAD: Final = re.compile(r"[\w-]+(/undo)? (failed|was refused)\b")
_DONE: Final = re.compile(r"[\w-]+ (succeeded|sent)\b|completed$|compensated$")
_UNDO: Final = re.compile(r"[\w-]+/undo |compensating\b")


def kind_of(note: str) -> NoteKind:
    """Return what kind of event a line tells; a reason in it is text of the team, and decides nothing.

    Args:
        note: A line of a timeline, as ``nsqkit.policy.saga`` writes it.
    """
    if note.startswith("needs attention"):
        return NoteKind.ATTENTION
    if _BAD.match(note):
        return NoteKind.BAD
    if _UNDO.match(note):
        return NoteKind.UNDO
    return NoteKind.DONE if _DONE.match(note) else NoteKind.STEP

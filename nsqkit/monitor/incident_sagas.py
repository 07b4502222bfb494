"""Incident sagas: the sagas in the file of an incident, those that need attention first. It reads nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

from nsqkit.monitor.html import Html, joined, tag
from nsqkit.monitor.look import Json
from nsqkit.monitor.words import NOTHING, count, date, duration
from nsqkit.policy.redaction import redact
from nsqkit.policy.saga_notes import NoteKind
from nsqkit.policy.saga_terms import Status

MOST_TIMELINES: Final = 5
STATUSES: Final = {
    Status.NEEDS_ATTENTION: "Needs attention",
    Status.RUNNING: "Running",
    Status.COMPENSATING: "Compensating",
    Status.COMPLETED: "Completed",
    Status.COMPENSATED: "Compensated",
}
_GLYPHS: Final = {
    NoteKind.STEP: "○",
    NoteKind.DONE: "●",
    NoteKind.BAD: "✗",
    NoteKind.UNDO: "↩",
    NoteKind.ATTENTION: "▲",
}


def need_attention(shown: Json | None) -> list[tuple[str, str]]:
    """Return saga and key of the first instances that need attention."""
    instances = [] if shown is None else shown["instances"]
    needs = [each for each in instances if each["status"] == Status.NEEDS_ATTENTION and each["is_whole"]]
    return [(each["saga"], each["key"]) for each in needs[:MOST_TIMELINES]]


def sagas(shown: Json, timelines: Sequence[Json], at_s: float) -> Html:
    """Return the counts, the instances and some timelines.

    Args:
        shown: The sagas, as :class:`Sagas` returns them.
        timelines: Timelines of instances.
        at_s: The time of the incident, seconds since 1970 UTC.
    """
    problems = [tag("p", each, class_="listed") for each in shown["problems"]]
    head = ("Saga", *STATUSES.values())
    return joined(
        *problems,
        _table(head, [_counts(each) for each in shown["sagas"]]),
        *(
            [_table(_COLUMNS, [_row(each, at_s) for each in shown["instances"]])]
            if shown["instances"]
            else []
        ),
        *map(_timeline, timelines),
    )


_COLUMNS: Final = ("Instance", "Status", "Step", "Attempts", "Age", "Reason")


def _table(columns: Sequence[str], rows: Sequence[Html]) -> Html:
    head = tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns)))
    return tag("div", tag("table", head, tag("tbody", *rows), class_="i-table"), class_="wide")


def _counts(saga: Json) -> Html:
    counts: Mapping[str, int] = saga["counts"]
    numbers = [counted(counts.get(status, 0), saga["most"]) for status in STATUSES]
    name = tag("td", tag("b", saga["name"]), tag("span", f"database {saga['database']}", class_="sub"))
    level = "bad" if counts.get(Status.NEEDS_ATTENTION) else "ok"
    return tag("tr", name, *(tag("td", number) for number in numbers), class_=f"i-row l-{level}")


def counted(number: int, most: int) -> str:
    """Return a number that is counted up to a limit."""
    return f"{count(number)} or more" if number >= most else count(number)


def _row(instance: Json, at_s: float) -> Html:
    is_bad = instance["status"] == Status.NEEDS_ATTENTION
    name = tag("span", f"{instance['saga']} v{instance['version']}", class_="sub")
    cells = (
        tag("td", tag("b", redact(instance["key"])), name),
        tag("td", tag("b", STATUSES[instance["status"]], class_=f"t-{'bad' if is_bad else 'unknown'}")),
        tag("td", instance["step"] or NOTHING),
        tag("td", count(instance["attempts"])),
        tag("td", duration(max(0.0, at_s - instance["started_at"]))),
        tag("td", instance["reason"] or NOTHING, class_="why"),
    )
    return tag("tr", *cells, class_=f"i-row l-{'bad' if is_bad else 'ok'}")


def _timeline(found: Json) -> Html:
    lines = [
        tag(
            "li",
            tag("span", f"+{each['at'] - found['started_at']:.3f} s", class_="mono when"),
            tag("span", _GLYPHS[each["kind"]], class_="glyph"),
            tag("span", each["text"], class_="what"),
            class_=f"m-{each['kind']}",
        )
        for each in found["moments"]
    ]
    title = f"{found['saga']} {redact(found['key'])}, version {found['version']}"
    started = tag("p", f"started at {date(found['started_at'])}", class_="small muted")
    return tag("div", tag("h3", title), started, tag("ol", *lines, class_="timeline"), class_="listed")

"""Text: dead letters as a table, one in full, or JSON lines. Control characters of messages are escaped."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table

from nsqkit.cli import tables, terminal
from nsqkit.dead_letters.store import Group, StoredLetter
from nsqkit.events.body import Body
from nsqkit.policy.redaction import redact_whole

_NUMBERS = frozenset({"id", "attempts", "att.", "bytes", "replays", "count", "replayed"})
_UNLIMITED = 10_000


def show(rows: Sequence[StoredLetter]) -> None:
    """Print a table with a line for each, or two lines if the terminal is too narrow."""
    columns = {
        "id": [str(row.id) for row in rows],
        "dead at": [_local(row.letter.dead_at) for row in rows],
        "topic/channel": [row.letter.place for row in rows],
        "handler": [row.letter.handler for row in rows],
        "reason": [row.letter.reason for row in rows],
        "error": [row.letter.error_type for row in rows],
        "attempts": [str(row.letter.attempts or "") for row in rows],
        "event": [row.letter.event_type for row in rows],
        "bytes": [f"{len(row.letter.body):,}" for row in rows],
    }
    if any(row.replays for row in rows):
        columns["replays"] = [str(row.replays) for row in rows]
    table = _table(columns)
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    if has_width and Console(width=_UNLIMITED).measure(table).maximum > Console().width:
        table = _table(_stacked(columns))
    tables.show(table)


def show_groups(groups: Sequence[Group], by: str) -> None:
    """Print a table of groups of dead letters."""
    columns = {
        by: [each.value for each in groups],
        "count": [f"{each.count:,}" for each in groups],
        "replayed": [f"{each.replayed:,}" for each in groups],
        "newest": [_local(each.newest) for each in groups],
    }
    tables.show(_table(columns))


def show_lines(rows: Iterable[StoredLetter | Group]) -> None:
    """Print JSON lines with everything but the body, which ``show --raw`` prints."""
    for row in rows:
        if isinstance(row, Group):
            known = asdict(row)
        else:
            letter = asdict(row.letter)
            size_bytes = len(letter.pop("body"))
            known = {"id": row.id, **letter, "size_bytes": size_bytes, "replays": row.replays}
            known["replayed_at"] = row.replayed_at
        terminal.echo(json.dumps(known))


def show_one(row: StoredLetter, body: Body) -> None:
    """Print one in full, its body indented and without what looks like a secret.

    Args:
        row: The dead letter.
        body: Its body, as its handler reads it.
    """
    letter = row.letter
    table = _table({"": [], " ": []})
    table.show_header = False
    table.columns[0].no_wrap = True
    event = ", ".join(filter(None, (letter.event_type, letter.event_id and f"id {letter.event_id}")))
    replays = f"{row.replays} times, last {_local(row.replayed_at or '')}" if row.replays else "never"
    for name, value in (
        ("dead letter", str(row.id) if letter.is_record else f"{row.id}, only a body"),
        ("topic/channel", letter.place),
        ("handler", letter.handler),
        ("dead at", _local(letter.dead_at)),
        ("reason", letter.reason),
        ("detail", redact_whole(letter.detail)),
        ("error", letter.error_type),
        ("attempts", str(letter.attempts or "")),
        ("event", event),
        ("traceparent", letter.traceparent or ""),
        ("published at", _local(letter.published_at)),
        ("message id", letter.message_id),
        ("read from", f"{letter.dead_topic} on {'' if letter.is_of_bridge else 'nsqd '}{letter.nsqd}"),
        ("nsqkit", letter.nsqkit_version),
        ("replayed", replays),
        ("size", f"{len(letter.body):,} bytes"),
    ):
        if value:
            table.add_row(name, tables.cell(value, keep=""))
    tables.show(table)
    if letter.stack:
        terminal.echo(f"\n{redact_whole(letter.stack.rstrip())}")
    terminal.echo(f"\n{_content(body.redacted())}")


def _content(body: Body) -> str:
    return json.dumps(body.value, indent=2, ensure_ascii=False) if body.kind == "json" else str(body.value)


def _stacked(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the columns; those that belong together share one, one value above the other."""
    found = dict(columns)
    found["dead at"] = [text.replace(" ", "\n") for text in columns["dead at"]]
    for upper, lower in (("topic/channel", "handler"), ("reason", "error")):
        below = found.pop(lower)
        found = {
            (f"{name}\n{lower}" if name == upper else name): (
                [f"{above}\n{text}" for above, text in zip(values, below, strict=True)]
                if name == upper
                else values
            )
            for name, values in found.items()
        }
    return {("att." if name == "attempts" else name): values for name, values in found.items()}


def _table(columns: dict[str, list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in columns:
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(tables.cell, row))
    return table


def _local(time: str) -> str:
    """Return a time in the local time zone; a text that is not a time as it is."""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return time

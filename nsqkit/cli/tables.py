"""Tables: text for a terminal of 80 columns and for pipes; no cell is ever cut."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from nsqkit.cli import terminal
from nsqkit.loading.describe import HandlerRow
from nsqkit.policy.visible import visible
from nsqkit.settings.setting import shown
from nsqkit.settings.settings import TABLE, SettingRow
from nsqkit.telemetry.metrics import HandlerSummary

if TYPE_CHECKING:  # it imports tornado, which other commands do not need
    from nsqkit.ops.status import ChannelStatus

_UNLIMITED = 10_000

_REFERENCE = """\
# Settings

Printed by `nsqkit config --markdown`; do not edit.

A value comes from the command line, else from the environment, else from `nsqkit.toml` in the working
directory, else it is the default. `nsqkit config` shows every value and where it came from.

- On the command line: the option of that name where a command has one, else `--set NAME=VALUE`.
- In the environment: `NSQKIT_` and the name in capitals, such as `NSQKIT_THREADS=4`. Lists are separated by
  commas.
- In the file: a key of the table `[nsqkit]`.

Settings of your own handlers are `--app NAME=VALUE`, `NSQKIT_APP_NAME`, or keys of the table `[app]`;
handlers read them by `settings.app_number()` and `settings.app_text()`.

| setting | default | allowed | what it is |
|---|---|---|---|
"""


def show(*tables: RenderableType) -> None:
    """Print tables as wide as the terminal; without a terminal, as wide as they need to be."""
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=_UNLIMITED if wide else None)
    with console.capture() as captured:
        for number, table in enumerate(tables):
            console.print("\n" if number else "", table, sep="", end="")
    terminal.echo_styled("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_json(value: object) -> None:
    """Print a value as indented JSON."""
    terminal.echo_styled(json.dumps(value, indent=2))


def cell(text: str, *, keep: str = "\n", style: str = "") -> Text:
    """Return a text as the cell of a table, without rich's markup and with control characters visible.

    Args:
        text: The text.
        keep: Characters that stay as they are.
        style: A style of rich.
    """
    return Text(visible(text, keep=keep), style=style)


def summary(rows: Sequence[HandlerSummary]) -> Table:
    """Return a row for each handler: counts, the requeue rate in percent, durations in milliseconds.

    The column "requeued" counts requeues after an error or a timeout. Rare outcomes have a column only if
    there are any.
    """
    columns: dict[str, list[str]] = {
        "received": [f"{row.received:,}" for row in rows],
        "success": [f"{row.success:,}" for row in rows],
        "requeued": [f"{row.requeued - row.given_back:,}" for row in rows],
        "requeue\nrate": [f"{row.requeue_rate_ratio:.1%}" for row in rows],
        "dead-\nlettered": [f"{row.dead_lettered:,}" for row in rows],
    }
    for heading, counts in (
        ("given\nback", [row.given_back for row in rows]),
        ("dis-\ncarded", [row.discarded for row in rows]),
        ("lease\nlost", [row.lease_lost for row in rows]),
    ):
        if any(counts):
            columns[heading] = [f"{count:,}" for count in counts]
    columns["P50\nms"] = [_milliseconds(row.p50_s) for row in rows]
    columns["P95\nms"] = [_milliseconds(row.p95_s) for row in rows]
    columns["P99\nms"] = [_milliseconds(row.p99_s) for row in rows]
    table = _table("handler")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True, overflow="fold")
    for row, *cells in zip(rows, *columns.values(), strict=True):
        _add(table, row.handler, *cells)
    return table


def handler(row: HandlerRow) -> Table:
    """Return one handler's effective configuration, one line for each property."""
    table = _table("", "")
    table.show_header = False
    table.columns[0].no_wrap = True
    table.add_row(cell(row.handler, style="bold"), cell(f"{row.topic} / {row.channel}", style="bold"))
    for name, value in (
        ("events", ", ".join(row.events)),
        ("retry", row.retry),
        ("timeout", "none" if row.timeout_s is None else f"{row.timeout_s:g} s"),
        ("max in flight", f"{row.max_in_flight} ({row.kind})"),
        ("unknown events", row.on_unknown.replace("_", " ")),
        ("dead letters", row.dead_letters or "discarded"),
        ("kill switch", row.kill_switch),
        ("rate limit", row.rate_limit),
        ("middleware", ", ".join(row.middleware) or None),
        ("uses", ", ".join(row.uses) or None),
        ("once", f"database {row.once}" if row.once else None),
        ("defined in", row.location),
    ):
        if value is not None:
            _add(table, f"  {name}", value)
    return table


def channels(rows: Sequence["ChannelStatus"]) -> Table:
    """Return a row for each channel: sums over all nsqd, and in how many of them it is paused.

    A channel that no nsqd has, has "-" for its counts. Messages that wait in topics have a column only if
    there are any.
    """
    columns: dict[str, list[str]] = {}
    if any(row.total("topic_depth") for row in rows):
        columns["in\ntopic"] = [_total(row, "topic_depth") for row in rows]
    for heading, field in (
        ("depth", "depth"),
        ("in\nflight", "in_flight"),
        ("deferred", "deferred"),
        ("clients", "clients"),
    ):
        columns[heading] = [_total(row, field) for row in rows]
    columns["paused"] = [_pauses(row) for row in rows]
    columns["nsqd"] = [str(len([each for each in row.nsqd if not each.is_missing])) for row in rows]
    table = _table("handler", "topic / channel")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True, overflow="fold")
    for row, *cells in zip(rows, *columns.values(), strict=True):
        _add(table, row.handler, f"{row.topic} / {row.channel}", *cells)
    return table


def settings(rows: Iterable[SettingRow]) -> Table:
    """Return every setting, its value and where the value came from."""
    table = _table("setting", "value", "from")
    for row in rows:
        _add(table, row.name, row.value, row.source)
    return table


def settings_reference() -> str:
    """Return the reference of all settings, as Markdown."""
    lines = []
    for setting in TABLE:
        allowed = setting.range_text or setting.kind
        unit = f" {setting.unit}" if setting.unit and setting.minimum is not None else ""
        default = shown(setting.default, secret=False)
        lines.append(f"| `{setting.name}` | {default} | {allowed}{unit} | {setting.help} |\n")
    return _REFERENCE + "".join(lines)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(cell, cells))


def _total(row: "ChannelStatus", field: str) -> str:
    has_figure = row.nsqd if field == "topic_depth" else [each for each in row.nsqd if not each.is_missing]
    return f"{row.total(field):,}" if has_figure else "-"


def _pauses(row: "ChannelStatus") -> str:
    """Return such as "no", "channel", or "topic 1/3" if that nsqd is one of three."""
    found = Counter(each.paused for each in row.nsqd if each.paused != "no")
    counts = (
        name if count == len(row.nsqd) else f"{name} {count}/{len(row.nsqd)}" for name, count in found.items()
    )
    return " ".join(counts) or "no"


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    number = seconds * 1000
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:,.0f}"  # noqa: PLR2004 - digits

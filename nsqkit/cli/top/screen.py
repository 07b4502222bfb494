"""Screen: looks at workers as renderables of rich, the verdict first. It knows no terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nsqkit.cli.tables import cell
from nsqkit.cli.top import words
from nsqkit.ops.top import Look, Row, Sort, rows
from nsqkit.policy.requeue_level import Level
from nsqkit.policy.saga_terms import Status

WIDE: Final = 100
"""Columns from which each minute has a bar."""
_MINUTES: Final = 15
_BARS: Final = 9
_MOST_REASONS: Final = 5
_MOST_MARKS: Final = 3
_MOST_NAMES: Final = 3
_NAME_WIDTH: Final = 14
_NSQD: Final = {"depth": "depth", "deferred": "deferred", "in_flight": "in flight", "rdy": "RDY"}
_LABELS: Final = {"lag": "loop lag", "wait": "thread wait", "memory": "memory"}
_SIGNS: Final = {
    Level.BAD: ("✖", "bold red"),
    Level.HELD: ("‖", "bold magenta"),
    Level.WARN: ("▲", "yellow"),
    Level.OK: ("✔", "green"),
    Level.UNKNOWN: (words.NOTHING, "dim"),
}
_LEVELS: Final = tuple(Level)


def parts(
    looks: Sequence[Look], *, sort: Sort = "worst", width: int, most: int | None = None
) -> list[RenderableType]:
    """Return the parts of the screen from top to bottom.

    Args:
        looks: A look at each worker.
        sort: The order of the handlers.
        width: Columns of the terminal.
        most: Handlers to show; None for all.
    """
    found = rows(looks, sort)
    shown = found if most is None else found[:most]
    is_many = len(looks) > 1
    return [
        Group(_verdict(looks), _workers(looks)),
        Group(*_handlers(shown, width, is_many=is_many, left=len(found) - len(shown))),
        Group(
            *_reasons(rows(looks, "worst"), is_many=is_many),
            *_dead_letters(found),
            *_sagas(looks),
            *_process(looks, is_many=is_many),
        ),
    ]


def _verdict(looks: Sequence[Look]) -> RenderableType:
    """Return the verdict on the worst worker, and how many others are as bad."""
    number, worst = min(enumerate(looks, start=1), key=lambda each: _rank(each[1]))
    if worst.screen is None:
        return Text("No worker answers.", style="bold red")
    verdict = worst.screen["verdict"]
    sign, style = _SIGNS[worst.level]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    line = cell(verdict["line"], style="bold")
    if len(looks) > 1:
        line = Text.assemble((f"worker {number}: ", style), line)
    grid.add_row(cell(f"{sign} {verdict['word']}", style=style), line)
    cause = f"{verdict['cause'].capitalize()}. " if verdict["cause"] else ""
    grid.add_row("", cell(cause + " ".join(verdict["evidence"])))
    as_bad = [str(each) for each, look in enumerate(looks, start=1) if look.level is worst.level]
    if len(as_bad) > 1:
        grid.add_row("", cell(f"{verdict['word']}: workers {', '.join(as_bad)} of {len(looks)}."))
    return grid


def _rank(look: Look) -> tuple[bool, int]:
    return look.screen is None, _LEVELS.index(look.level)


def _workers(looks: Sequence[Look]) -> RenderableType:
    """Return a line for each worker: who it is, or why it does not answer."""
    grid = Table.grid(padding=(0, 1))
    for number, look in enumerate(looks, start=1):
        name = [str(number), look.address] if len(looks) > 1 else [look.address]
        grid.add_row(*map(cell, name), _about(look))
    return grid


def _about(look: Look) -> Text:
    if look.screen is None:
        return cell(f"▲ {str(look.error).removeprefix(f'worker {look.address}: ')}", style="bold yellow")
    service = look.screen["service"]
    at = words.clock(look.screen["at"])
    up = words.duration(service["up_s"])
    return cell(
        f"{service['name']}, {service['host']}, process {service['pid']}, up {up}, {at} UTC", style="dim"
    )


def _handlers(shown: Sequence[Row], width: int, *, is_many: bool, left: int) -> Iterable[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, pad_edge=False)
    table.add_column("")
    table.add_column("handler", overflow="fold")
    if is_many:
        table.add_column("worker", justify="right", no_wrap=True)
    bars = _MINUTES if width >= WIDE else _BARS
    top = words.scale([row.handler["series"] for row in shown])
    for heading in ("now", "1 min", "5 min"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"15 min\nto {top:.0%}", no_wrap=True)
    for heading in ("per s", "oldest", "depth", "in\nflight", "dead,\n15 min"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in shown:
        _add(table, row, bars, top, is_many=is_many)
    yield table
    if left:
        yield cell(f"and {left} more; a higher terminal shows them", style="dim")


def _add(table: Table, row: Row, bars: int, top: float, *, is_many: bool) -> None:
    handler = row.handler
    sign, style = _SIGNS[row.level]
    rates = (words.percent(handler[key]) for key in ("now", "m1", "m5"))
    is_full = handler["in_flight"] >= handler["max_in_flight"]
    table.add_row(
        cell(sign, style=style),
        cell(handler["name"], style="bold" if row.level is Level.BAD else ""),
        *([str(row.worker)] if is_many else []),
        *(cell(each, style=style if row.level is Level.BAD else "") for each in rates),
        cell(words.spark(handler["series"], top, bars, handler["paused"]), style=style),
        words.rate(handler["throughput"]),
        words.age(handler["oldest_s"]),
        words.count(handler["depth"]),
        cell(f"{handler['in_flight']}/{handler['max_in_flight']}", style="yellow" if is_full else ""),
        cell(words.count(handler["dead"]), style="bold" if handler["dead"] else "dim"),
    )


def _reasons(worst_first: Sequence[Row], *, is_many: bool) -> Iterable[RenderableType]:
    """Yield the reasons and the beginning of the failures and pauses of the worst handlers."""
    found = [(row, why) for row in worst_first if (why := _why(row.handler))]
    for row, why in found[:_MOST_REASONS]:
        name = f"{row.handler['name']}, {row.worker}" if is_many else row.handler["name"]
        yield _line(cell(name, style=_SIGNS[row.level][1]), cell(why))


def _why(handler: dict[str, Any]) -> str:
    since = f"since {handler['since']}" if handler["since"] else ""
    deferred = f"{words.count(handler['deferred'])} deferred" if handler["deferred"] else ""
    problems = handler["problems"][:1]
    last_error = handler.get("last_error")  # an older worker has none
    reasons = words.reasons(handler)
    found = [
        words.intake(handler),
        *problems,
        handler["saturated"],
        since,
        reasons and f"1 min: {reasons}",
        last_error and f"last error {last_error}",
        deferred,
    ]
    return "; ".join(filter(None, found))


def _dead_letters(found: Sequence[Row]) -> Iterable[RenderableType]:
    """Yield how many dead letters there were in the last minute, and the command that lists them."""
    dead = Counter[str]()
    for row in found:
        dead[row.handler["name"]] += row.handler["dead_m1"]
    names = [f"{words.count(number)} of {name}" for name, number in dead.most_common(_MOST_NAMES) if number]
    if names:
        command = f"nsqkit dead ls --handler {dead.most_common(1)[0][0]}"
        yield _line("dead, 1 min", cell(f"{', '.join(names)}: {command}"))


def _sagas(looks: Sequence[Look]) -> Iterable[RenderableType]:
    """Yield how many instances of sagas need attention; workers may share a database, so the most of one."""
    found = [each for look in looks if (each := (look.screen or {}).get("sagas")) is not None]
    worst = max(found, key=lambda each: int(each["attention"]), default=None)
    if worst is not None and worst["attention"]:
        needs = [each for each in worst["instances"] if each["status"] == Status.NEEDS_ATTENTION]
        names = [f"{each['saga']} {each['key']}" for each in needs[:_MOST_NAMES]]
        number = words.count(worst["attention"])
        yield _line("sagas", cell(f"▲ {number} need attention: {', '.join(names)}", style="bold red"))


def _line(name: str | Text, text: Text) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=_NAME_WIDTH)
    grid.add_column(overflow="fold")
    grid.add_row(cell(name, style="dim") if isinstance(name, str) else name, text)
    return grid


def _process(looks: Sequence[Look], *, is_many: bool) -> Iterable[RenderableType]:
    """Yield saturation, nsqd's figures and the last marks, a line each for every worker."""
    for number, look in enumerate(looks, start=1):
        if look.screen is None:
            continue
        suffix = f", {number}" if is_many else ""
        yield _line(f"saturation{suffix}", _saturation(look.screen["saturation"], look.screen["handlers"]))
        for nsqd in look.screen["nsqd"]:
            yield _line(f"nsqd{suffix}", cell(_nsqd(nsqd)))
        marks = look.screen["marks"][-_MOST_MARKS:]
        if marks:
            text = "; ".join(f"{words.clock(mark['at'])} {mark['text']}" for mark in marks)
            yield _line(f"marks{suffix}", cell(text))


def _saturation(limits: Sequence[dict[str, Any]], handlers: Sequence[dict[str, Any]]) -> Text:
    names = [each["name"] for each in handlers if each["saturated"]]
    full = [cell(f"▲ {', '.join(names)} at the limit in flight", style="bold yellow")] if names else []
    is_passed = any(limit["level"] == Level.WARN for limit in limits)
    first = full if is_passed or full else [Text("no sign", style="dim")]
    found = [*first, *map(_limit, limits)]
    return Text("; ").join(filter(None, found))


def _limit(limit: dict[str, Any]) -> Text:
    is_passed = limit["level"] == Level.WARN
    bound = "≤ " if limit["is_bound"] and limit["value"] else ""
    text = f"{_LABELS.get(limit['key'], limit['label'])} {bound}{limit['value']:.0f} {limit['unit']}"
    return cell(f"▲ {text}, limit {limit['limit']:.0f}", style="bold yellow") if is_passed else cell(text)


def _nsqd(nsqd: dict[str, Any]) -> str:
    states = [f"{number} {state.replace('_', ' ')}" for state, number in nsqd["states"].items()]
    figures = [f"{label} {words.count(nsqd[name])}" for name, label in _NSQD.items() if name in nsqd]
    paused = [f"‖ {nsqd['paused']} paused in nsqd"] if nsqd.get("paused") else []
    return f"{nsqd['address']}  {', '.join([*states, *figures, *paused])}"

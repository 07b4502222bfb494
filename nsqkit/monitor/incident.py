"""Incident: the first screen as one HTML file without scripts. It reads no metrics."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from nsqkit.monitor.html import Html, joined, tag
from nsqkit.monitor.incident_sagas import sagas
from nsqkit.monitor.look import Json
from nsqkit.monitor.ring import STEPS
from nsqkit.monitor.slices import sliced
from nsqkit.monitor.words import NOTHING, age, clock, count, date, duration, percent, rate
from nsqkit.policy.requeue_level import Level

MOST_HANDLERS_WITH_ERRORS: Final = 20
_ROWS_AT_ONCE: Final = 10
_RANKS: Final = tuple(Level)
_WIDTH: Final = 180
_FLOOR: Final = 28
_LEAST_TOP: Final = 0.1
_WORDS: Final = {
    "bad": "failing",
    "held": "paused",
    "warn": "to watch",
    "ok": "healthy",
    "unknown": "no messages",
}
_COLUMNS: Final = (
    *("Handler", "State", "Now", "1 m", "5 m", "15 minutes", "Why, 1 m"),
    *("Received", "Oldest", "Depth", "In flight", "Dead, 15 m"),
)
_TEXTS: Final = frozenset({"Handler", "State", "15 minutes", "Why, 1 m", "nsqd", "Connections"})


def worst_first(rows: Sequence[Json]) -> list[Json]:
    """Return the rows of handlers, those that fail first."""
    return sorted(rows, key=lambda row: (_RANKS.index(row["level"]), -(row["m1"] or 0.0), row["name"]))


def policy_of(style: str) -> str:
    """Return the Content-Security-Policy of a file with a style sheet: nothing else is allowed."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


async def incident(
    state: Json, errors: Mapping[str, Sequence[Json]], timelines: Sequence[Json], style: str
) -> str:
    """Return the file.

    Args:
        state: The first screen, as :class:`View` returns it.
        errors: Errors with examples, by the name of the handler.
        timelines: Timelines of instances of sagas.
        style: The style sheet of the page.
    """
    top = max(_LEAST_TOP, *(value or 0.0 for row in state["handlers"] for value in row["series"]), 0.0)
    rows = [_row(row, top) async for row in sliced(worst_first(state["handlers"]), _ROWS_AT_ONCE)]
    service = state["service"]
    title = f"{state['verdict']['word']}: {service['name']}, {date(state['at'])}"
    head = (
        Html(
            f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy_of(style)}">'
        ),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Html(style)),
    )
    main = tag(
        "main",
        _verdict(state["verdict"]),
        _card("Handlers", _table(_COLUMNS, rows), f"requeue rates, 0 to {100 * top:.0f} %"),
        *_sagas(state, timelines),
        _card("Changes, 15 minutes", _changes(state["marks"])),
        *(
            _card(f"Errors of {name}, 15 minutes", joined(*map(_error, found)))
            for name, found in errors.items()
        ),
        _card("Saturation", tag("div", *map(_limit, state["saturation"]), class_="sat")),
        _card("nsqd", _nsqd(state["nsqd"]), "its own figures for these channels, all workers included"),
        tag("footer", _FOOTER, class_="small muted"),
    )
    body = tag("body", _header(state), main, class_="saved")
    return f'<!doctype html>\n<html lang="en"><head>{joined(*head)}</head>{body}</html>\n'


_FOOTER: Final = (
    "Saved from the monitor page of nsqkit. All times in UTC. Now: the last 10 s. The rate counts requeues "
    "after errors and timeouts. Likely secrets are masked; read the texts before you pass the file on."
)


def _header(state: Json) -> Html:
    service = state["service"]
    workers = service["workers"]
    scope = f"{len(workers)} workers" if workers else f"process {service['pid']}"
    facts = f"{service['host']}, {scope}, up {duration(service['up_s'])}, nsqkit {service['nsqkit']}"
    away = [f"▲ worker {each['worker']} {each['problem']}" for each in workers if each["problem"]]
    parts = (
        tag("h1", service["name"]),
        tag("span", facts, class_="muted small"),
        tag("span", class_="grow"),
        tag("span", "  ".join(away)),
        tag("span", f"saved at {date(state['at'])}"),
    )
    return tag("header", tag("div", *parts, class_="top-in"), class_="top")


def _verdict(verdict: Json) -> Html:
    line = joined(tag("span", f"{verdict['word']}.", class_=f"t-{verdict['level']}"), " ", verdict["line"])
    cause = verdict["cause"]
    why = joined(
        tag("b", f"{cause[:1].upper()}{cause[1:]}. " if cause else ""), " ".join(verdict["evidence"])
    )
    head = tag(
        "div", tag("span"), tag("p", line, class_="v-line"), tag("p", why, class_="v-why"), class_="v-head"
    )
    return tag("section", head, class_=f"card verdict l-{verdict['level']}")


def _card(title: str, content: Html, note: str = "") -> Html:
    head = tag("div", tag("h2", title), tag("span", note, class_="muted small"), class_="card-head")
    return tag("section", head, content, class_="card")


def _table(columns: Sequence[str], rows: Sequence[Html]) -> Html:
    kinds = ((column, "" if column in _TEXTS else "num") for column in columns)
    head = tag("thead", tag("tr", *(tag("th", column, scope="col", class_=kind) for column, kind in kinds)))
    return tag("div", tag("table", head, tag("tbody", *rows), class_="i-table"), class_="wide")


def _number(text: str, sub: str = "") -> Html:
    return tag("td", text, tag("span", sub, class_="sub"), class_="num")


def _row(row: Json, top: float) -> Html:
    numbers = row["in_workers"]
    state = row["state"].replace("_", " ") + (f" in worker {', '.join(map(str, numbers))}" if numbers else "")
    others = f", also read by {', '.join(row['other_workers'])}" if row["other_workers"] else ""
    channel = tag("span", f"{row['topic']} / {row['channel']}{others}", class_="sub")
    deferred = f"{count(row['deferred'])} deferred" if row["deferred"] else ""
    cells = (
        tag("td", tag("b", row["name"]), channel),
        tag(
            "td", tag("b", _WORDS[row["level"]], class_=f"t-{row['level']}"), tag("span", state, class_="sub")
        ),
        *(_number(percent(row[key])) for key in ("now", "m1", "m5")),
        tag("td", _plot(row["series"], top, f"Requeue rate of {row['name']}")),
        tag("td", _why(row), class_="why"),
        _number(rate(row["throughput"])),
        _number(age(row["oldest_s"])),
        _number(count(row["depth"]), deferred),
        _number(f"{row['in_flight']} / {row['max_in_flight']}", "▲ saturated" if row["saturated"] else ""),
        _number(count(row["dead"])),
    )
    return tag("tr", *cells, class_=f"i-row l-{row['level']}")


def _why(row: Json) -> str:
    parts = [row["saturated"]] * bool(row["saturated"])
    if counts := row["nsqd_counts"]:
        here = f"here {count(counts['here'])}"
        parts.append(f"nsqd counts {count(counts['nsqd'])} requeues in {counts['seconds']} s, {here}")
    parts += [f"{count(number)} × {label}" for label, number in row["top"]]
    parts += [f"{count(row['timeouts'])} timeouts"] * bool(row["timeouts"])
    parts += [f"{count(row['others'])} given back"] * bool(row["others"])
    return ", ".join(parts) or next(iter(row["problems"]), NOTHING)


def _plot(series: Sequence[float | None], top: float, label: str) -> Html:
    """Return a line; gaps in the data are gaps in the line."""
    runs = groupby(enumerate(series), key=lambda point: point[1] is None)
    lines = [[_point(step, value or 0.0, top) for step, value in run] for is_gap, run in runs if not is_gap]
    path = "".join(f"M{'L'.join(line)}h.1" for line in lines)
    parts = (tag("path", class_="base", d=f"M0 {_FLOOR}H{_WIDTH}"), tag("path", class_="line", d=path))
    box = {"viewBox": f"0 0 {_WIDTH} 36", "preserveAspectRatio": "none", "role": "img", "aria_label": label}
    return tag("svg", *parts, class_="spark", **box)


def _point(step: int, value: float, top: float) -> str:
    return f"{(step + 0.5) * _WIDTH / STEPS:.1f} {_FLOOR - min(value, top) / top * (_FLOOR - 2):.1f}"


def _sagas(state: Json, timelines: Sequence[Json]) -> list[Html]:
    shown = state["sagas"]
    if shown is None:
        return []
    number = shown["attention"]
    note = f"▲ {count(number)} need{'s' if number == 1 else ''} attention" if number else ""
    return [_card("Sagas", sagas(shown, timelines, state["at"]), note)]


def _changes(marks: Sequence[Json]) -> Html:
    lines = [tag("li", f"{clock(mark['at'])}  {mark['text']}") for mark in marks]
    return tag("ul", *(lines or [tag("li", "none")]), class_="listed")


def _error(error: Json) -> Html:
    place = tag("span", error["place"] or "line not known", class_="sub mono")
    times = f"{count(error['count'])} times, first {clock(error['first'])}, last {clock(error['last'])}"
    head = tag("p", tag("b", error["type"]), place, tag("span", times, class_="sub"))
    return tag("div", head, *map(_example, error["examples"]), class_="error listed")


def _example(example: Json) -> Html:
    worker = f"  worker {example['worker']}" if "worker" in example else ""
    facts = f"{clock(example['at'])}  message {example['message_id']}{worker}  {example['outcome']}"
    stack = [tag("pre", example["stack"])] if example["stack"] else []
    parts = (tag("p", example["text"], class_="text"), tag("p", facts, class_="mono"), *stack)
    return tag("div", *parts, class_="example")


def _limit(limit: Json) -> Html:
    bound = "≤ " if limit["is_bound"] and limit["value"] else ""
    is_passed = limit["level"] == Level.WARN
    known = "no limit known" if limit["limit"] is None else f"limit {limit['limit']:.0f}"
    note = f"{'▲ above its ' if is_passed else ''}{known}, peak {limit['peak']:.0f} {limit['unit']}"
    top = max(1.0, 1.2 * (limit["limit"] or 0.0), *(1.1 * (value or 0.0) for value in limit["series"]))
    return tag(
        "div",
        tag("span", limit["label"], class_="label"),
        tag("span", f"{bound}{limit['value']:.0f} {limit['unit']}", class_="value"),
        _plot(limit["series"], top, limit["label"]),
        tag("span", note, class_="sub"),
        class_=f"l-{limit['level']}",
    )


def _nsqd(found: Sequence[Json]) -> Html:
    rows = []
    for each in found:
        states = ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in each["states"].items())
        paused = f", {each['paused']} paused in nsqd" if each.get("paused") else ""
        figures = (_number(count(each.get(key))) for key in ("depth", "deferred", "in_flight", "rdy"))
        rows.append(
            tag("tr", tag("td", tag("b", each["address"])), tag("td", (states or NOTHING) + paused), *figures)
        )
    return _table(("nsqd", "Connections", "Depth", "Deferred", "In flight", "RDY here"), rows)

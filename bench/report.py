"""Tables of the results, for the terminal and the docs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.page import overhead
from bench.targets import OURS, Results, machine_class, median_of, targets


@dataclass(frozen=True)
class Table:
    """A table of text, with columns of words first and columns of figures after them.

    Args:
        name: Name of the marker in the docs.
        title: Title for the terminal.
        header: Titles of the columns.
        rows: Rows with one text per column.
        note: Line below the table.
        words: Number of columns with words.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: int = 1

    def text(self) -> str:
        """Return the table for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if number < self.words else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in (self.header, *self.rows)
        ]
        return "\n".join([self.title, *lines, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """Return the table as Markdown."""
        ruler = (*("---",) * self.words, *("--:",) * (len(self.header) - self.words))
        lines = [f"| {' | '.join(row)} |" for row in (self.header, ruler, *self.rows)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


def tables(results: Results) -> list[Table]:
    """Return all tables for which there are results."""
    found = [make(results[name]) for name, make in _TABLES.items() if name in results]
    rows = tuple(_targets(results))
    if rows:
        header = ("target", "floor", "aim", "measured", "")
        found.append(Table("targets", "Targets", header, rows, f"Figures for {_class(results)}."))
    return found


def about(results: Results) -> str:
    """Return date, machine, its class, Python's build and versions of the measurements, in four sentences."""
    dates = sorted({results[name]["date"] for name in _TABLES if name in results})
    where = "{cpu}, {cores} cores, {memory_gib} GiB, {system} ({architecture})".format(**results["machine"])
    with_ = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    measured = f"Measured {' and '.join(dates)} on {where}."
    return f"{measured} This is {_class(results)}. {python(results)}. Versions: {with_}."


def python(results: Results) -> str:
    """Return the version of Python, and whether it was built with PGO."""
    built = {
        True: "was built with PGO",
        False: "was built without PGO",
        None: "does not say whether it has PGO",
    }
    return f"Python {results['versions']['Python']} {built[results['machine']['has_pgo']]}"


def _class(results: Results) -> str:
    found = machine_class(results)
    return f"a {found} machine" if found else "a machine of unknown class: bare asyncio was not measured"


def _large(found: dict[str, Any]) -> Table:
    return _throughput("throughput", "Throughput, large orders", found)


def _small(found: dict[str, Any]) -> Table:
    return _throughput("small", "Throughput, small orders", found)


def _throughput(name: str, title: str, found: dict[str, Any]) -> Table:
    clients = sorted(found["clients"], key=median_of, reverse=True)
    ours = next((median_of(client) for client in clients if client["name"] == OURS), None)
    rows = tuple(
        (
            client["name"],
            client["does"],
            f"{median_of(client):,.0f}",
            f"{median_of(client, 'cpu_us'):.1f}",
            f"{median_of(client, 'max_rss_mib'):.0f}",
            f"{median_of(client) / ours:.2f}" if ours else "",
            _spread(client),
        )
        for client in clients
    )
    orders = found["orders"]
    note = (
        f"{found['messages']:,} orders ({orders['distinct']:,} different, {orders['mean_bytes']:,} bytes on "
        f"average), median of {_rounds(found)}.{_missing(found)}"
    )
    header = ("client", "does", "messages/s", "CPU µs/message", "MiB", "ratio to nsqkit", "spread")
    return Table(name, title, header, rows, note, words=2)


def _everyday(found: dict[str, Any]) -> Table:
    rows = tuple(
        (
            load,
            client["name"],
            f"{median_of(client, 'cpu_us'):.0f}",
            *(f"{client[share]:.1f}" for share in ("p50_ms", "p95_ms", "p99_ms")),
            f"{client['samples']:,}",
        )
        for load in found["loads"]
        for client in found["clients"]
        if client["load"] == load
    )
    note = (
        f"{found['seconds']:g} s in each of {_rounds(found)}. CPU: median of the rounds. "
        f"Latency: all samples together.{_missing(found)}"
    )
    header = ("load", "client", "CPU µs/message", "P50 ms", "P95 ms", "P99 ms", "samples")
    return Table("everyday", "Everyday loads", header, rows, note, words=2)


def _publish(found: dict[str, Any]) -> Table:
    rows = tuple(
        (client["name"], client["does"], f"{median_of(client):,.0f}", f"{median_of(client, 'cpu_us'):.1f}")
        for client in found["clients"]
    )
    note = f"{found['messages']:,} orders, median of {_rounds(found)}.{_missing(found)}"
    header = ("publisher", "does", "messages/s", "CPU µs/message")
    return Table("publish", "Publishing", header, rows, note, words=2)


def _traces(found: dict[str, Any]) -> Table:
    clients = found["clients"]
    base = median_of(clients[0], "cpu_us")
    rows = tuple(
        (
            client["name"],
            client["does"],
            f"{median_of(client):,.0f}",
            f"{median_of(client, 'cpu_us'):.1f}",
            f"{median_of(client, 'cpu_us') - base:+.1f}",
        )
        for client in clients
    )
    note = f"{found['messages']:,} orders, median of {_rounds(found)}.{_missing(found)}"
    header = ("worker", "does", "messages/s", "CPU µs/message", f"over {clients[0]['name']}")
    return Table("traces", "Traces", header, rows, note, words=2)


def _watched(found: dict[str, Any]) -> Table:
    rows = tuple(
        (client["name"], client["does"], f"{median_of(client):,.0f}", f"{median_of(client, 'cpu_us'):.1f}")
        for client in found["clients"]
    )
    note = f"{found['messages']:,} orders, median of {_rounds(found)}.{_missing(found)}"
    return Table(
        "watched", "Watched", ("worker", "does", "messages/s", "CPU µs/message"), rows, note, words=2
    )


def _page(found: dict[str, Any]) -> Table:
    rows = tuple(
        (f"`{started}`", f"{rate:,.0f}", f"{open_rate:,.0f}", f"{cpu_us:.1f}", f"{open_cpu_us:.1f}")
        for (started, rate, open_rate), (_, cpu_us, open_cpu_us) in zip(
            overhead(found), overhead(found, "cpu_us"), strict=True
        )
    )
    note = f"{found['messages']:,} orders, median of {_rounds(found)}.{_missing(found)}"
    header = ("started with", "messages/s", "with an open page", "CPU µs/message", "with an open page")
    return Table("page", "An open monitor page", header, rows, note)


def _cost(found: dict[str, Any]) -> Table:
    rows = [
        (f"CPU per message, {_handlers(each['handlers'])}", f"{each['cpu_us']:.1f} µs")
        for each in found.get("handlers", ())
    ]
    for each in found.get("workers", ()):
        who = "1 worker on a channel" if each["workers"] == 1 else f"{each['workers']} workers on a channel"
        rows.append((f"CPU per message, {who}", f"{each['cpu_us']:.1f} µs"))
        rows.append((f"throughput, {who}", f"{each['messages_per_s']:,.0f} messages/s"))
    rows += [
        (f"CPU per message, `{each['started']}`", f"{each['cpu_us']:.1f} µs")
        for each in found.get("services", ())
    ]
    for each in found.get("in_flight", ()):
        held = f"{found['in_flight_messages']:,} messages, bodies of {found['body_bytes']:,} bytes"
        rows.append((f"memory per message in flight, {each['name']} ({held})", f"{each['bytes']:,} bytes"))
    if "idle_rss_mib" in found:
        rows.append(("idle worker of four handlers, CPU", f"{found['idle_cpu_ratio'] * 100:.2f} %"))
        rows.append(("idle worker of four handlers, memory", f"{found['idle_rss_mib']:.0f} MiB"))
    rows.append(("start until the worker is ready", f"{found['ready_s']:.2f} s"))
    rows.append(("`nsqkit --help`", f"{found['help_s']:.2f} s"))
    return Table("cost", "Cost", ("measurement", "figure"), tuple(rows))


_TABLES = {
    "throughput": _large,
    "small": _small,
    "everyday": _everyday,
    "publish": _publish,
    "cost": _cost,
    "traces": _traces,
    "watched": _watched,
    "page": _page,
}


def _targets(results: Results) -> Iterator[tuple[str, ...]]:
    for target in targets(results):
        sign = "≥" if target.is_least else "≤"
        floor, aim = (
            "" if limit is None else f"{sign} {limit:g}{target.unit}" for limit in (target.floor, target.aim)
        )
        yield target.says, floor, aim, f"{target.found:.3g}{target.unit}", target.verdict


def _handlers(count: int) -> str:
    return "1 handler" if count == 1 else f"{count} handlers"


def _spread(client: dict[str, Any]) -> str:
    """Return the range from the slowest to the fastest round, in percent of the median."""
    rates = [one["messages_per_s"] for one in client["rounds"]]
    return f"{(max(rates) - min(rates)) / median_of(client) * 100:.0f} %"


def _rounds(found: dict[str, Any]) -> str:
    return "1 round" if found["rounds"] == 1 else f"{found['rounds']} interleaved rounds"


def _missing(found: dict[str, Any]) -> str:
    return f" Left out, as not there: {', '.join(found['left_out'])}." if found["left_out"] else ""

"""Plots as SVG, with text as text, readable on light and dark backgrounds."""

import math
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from bench.targets import median_of

WIDTH = 760
_LEFT = 222
_RIGHT = 90
_ROW = 26
_BAR = 16
_TOP = 64
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_CHIEF = ("nsqkit", "pynsq", "go-nsq", "nsqjs")  # a chart of all clients would be pages long
_LIMIT = "bare asyncio"  # no client but a limit, and drawn differently
_STYLE = f"""
text {{ font-family: {_FONT}; font-size: 13px; fill: #1f2328 }}
.title {{ font-size: 15px; font-weight: 600 }}
.small {{ font-size: 12px; fill: #59636e }}
.value {{ font-size: 12px; stroke: #ffffff; stroke-width: 4; paint-order: stroke }}
.ours {{ font-weight: 600 }}
.end {{ text-anchor: end }}
.middle {{ text-anchor: middle }}
.surface {{ fill: #ffffff }}
.grid {{ stroke: #d8dde3; stroke-width: 1 }}
.bar {{ fill: #a3adb8 }}
.bar.ours {{ fill: #2563c9 }}
.bar.limit {{ fill: none; stroke: #7d8894; stroke-width: 1.5; stroke-dasharray: 4 3 }}
.span {{ stroke: #a3adb8; stroke-width: 4; stroke-linecap: round }}
.span.ours {{ stroke: #2563c9 }}
.p50 {{ fill: #7d8894; stroke: #ffffff; stroke-width: 1.5 }}
.p50.ours {{ fill: #2563c9 }}
.p99 {{ fill: #ffffff; stroke: #7d8894; stroke-width: 2 }}
.p99.ours {{ stroke: #2563c9 }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e6e9ed }}
  .small {{ fill: #9aa4ae }}
  .value {{ stroke: #15181c }}
  .surface {{ fill: #15181c }}
  .grid {{ stroke: #333a42 }}
  .bar {{ fill: #66717d }}
  .bar.ours {{ fill: #6ea2ff }}
  .bar.limit {{ stroke: #8a95a1 }}
  .span {{ stroke: #66717d }}
  .span.ours {{ stroke: #6ea2ff }}
  .p50 {{ fill: #9aa4ae; stroke: #15181c }}
  .p50.ours {{ fill: #6ea2ff }}
  .p99 {{ fill: #15181c; stroke: #9aa4ae }}
  .p99.ours {{ stroke: #6ea2ff }}
}}
"""


def throughput(found: dict[str, Any]) -> str:
    """Return a bar chart of the consumers, the fastest first."""
    clients = sorted(found["clients"], key=median_of, reverse=True)
    title = f"Messages per second, {found['messages']:,} orders"
    note = "blue: nsqkit; dashed: no client, but what asyncio leaves to win"
    fastest = max(map(median_of, clients), default=1.0)
    return _page(title, note, _TOP + _ROW * len(clients) + 16, _bars(clients, fastest))


def _bars(clients: Sequence[dict[str, Any]], fastest: float) -> Iterator[str]:
    for number, client in enumerate(clients):
        rate, top = median_of(client), _TOP + _ROW * number
        width = rate / fastest * (WIDTH - _LEFT - _RIGHT)
        kind = "limit" if client["name"] == _LIMIT else _kind(client["name"])
        middle = top + _BAR / 2 + 4.5
        yield _text(_LEFT - 10, middle, client["name"], f"end {_kind(client['name'])}")
        yield (f'<rect class="bar {kind}" x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>')
        yield _text(_LEFT + width + 8, middle, f"{rate:,.0f}", _kind(client["name"]))


def everyday(found: dict[str, Any]) -> str:
    """Return a chart with a span from P50 to P99 for each load and chief consumer, on a logarithmic axis."""
    shown = [_at(found, load) for load in found["loads"]]
    bottom = _TOP + 14 + _ROW * sum(len(clients) + 1 for clients in shown)
    shares = [client[share] for clients in shown for client in clients for share in ("p50_ms", "p99_ms")]
    axis = _Axis(min(shares, default=1.0), max(shares, default=1.0))
    title = "Publish to handler entered, milliseconds, logarithmic"
    note = "filled: P50 (half came sooner), ring: P99 (one in a hundred came later)"
    return _page(title, note, bottom + 34, (*axis.drawn(bottom), *_spans(found, axis)))


class _Axis:
    """A logarithmic axis that maps milliseconds to pixels, with whole powers of ten."""

    def __init__(self, lowest: float, highest: float) -> None:
        self._first = math.floor(math.log10(max(lowest, 0.01)))
        self._last = max(math.ceil(math.log10(max(highest, 0.01))), self._first + 1)

    def x(self, ms: float) -> float:
        share = (math.log10(max(ms, 0.01)) - self._first) / (self._last - self._first)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def drawn(self, bottom: float) -> Iterator[str]:
        for power in range(self._first, self._last + 1):
            x = self.x(10.0**power)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{bottom}"/>'
            yield _text(x, bottom + 18, f"{10.0**power:g} ms", "small middle")


def _spans(found: dict[str, Any], axis: _Axis) -> Iterator[str]:
    y = _TOP + 10.0
    for load in found["loads"]:
        yield _text(16, y + 4.5, load, "ours")
        y += _ROW
        for client in _at(found, load):
            kind = _kind(client["name"])
            low, high = axis.x(client["p50_ms"]), axis.x(client["p99_ms"])
            yield _text(_LEFT - 10, y + 4.5, client["name"], f"end {kind}")
            yield f'<line class="span {kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
            yield f'<circle class="p99 {kind}" cx="{high:.1f}" cy="{y}" r="5"/>'
            yield f'<circle class="p50 {kind}" cx="{low:.1f}" cy="{y}" r="5.5"/>'
            shown = f"{client['p50_ms']:.1f} / {client['p99_ms']:.1f}"
            yield _text(high + 12, y + 4.5, shown, f"value {kind}")
            y += _ROW


def _at(found: dict[str, Any], load: str) -> list[dict[str, Any]]:
    return [client for client in found["clients"] if client["load"] == load and client["name"] in _CHIEF]


def _kind(name: str) -> str:
    return "ours" if name.startswith("nsqkit") else "theirs"


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class={quoteattr(kind)}>{escape(words)}</text>'


def _page(title: str, note: str, height: float, parts: Sequence[str] | Iterator[str]) -> str:
    heading = [_text(16, 26, title, "title"), *([_text(16, 45, note, "small")] if note else [])]
    size = f'width="{WIDTH}" height="{height:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height:g}" {size}>',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="surface" {size} rx="8"/>',
            *heading,
            *parts,
            "</svg>\n",
        ]
    )

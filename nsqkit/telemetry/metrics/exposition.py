"""Exposition: renders a snapshot for Prometheus, as text 0.0.4 or OpenMetrics 1.0. It counts nothing.

Lines differ only in their numbers from one scrape to the next. So all lines of a group of labels are one
template, made once, and a scrape makes one call for hundreds of series (ADR 0049).
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import chain
from typing import Any, Final

from prometheus_client.utils import floatToGoString

from nsqkit.telemetry.metrics.families import FAMILIES, Family
from nsqkit.telemetry.metrics.snapshot import Exemplar, HistogramSnapshot, Labels, Series, Snapshot

_SERIES_PER_TEMPLATE: Final = 300
_PART_BYTES: Final = 64 * 1024
_UNITS: Final = ("seconds", "bytes")
_OPENMETRICS: Final = "application/openmetrics-text"
_TEXT: Final = "text/plain"


class Format(Enum):
    """A text format that Prometheus reads; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @classmethod
    def accepted(cls, accept: str) -> "Format":
        """Return the format that a client prefers; text unless it asks for OpenMetrics.

        Args:
            accept: The ``Accept`` header of the request; may be empty.
        """
        weights: dict[str, float] = {}
        for media_type, weight in map(_weighted, accept.split(",")):
            weights[media_type] = max(weight, weights.get(media_type, 0.0))
        wanted = weights.get(_OPENMETRICS, 0.0)
        return cls.OPENMETRICS if wanted > 0.0 and wanted >= weights.get(_TEXT, 0.0) else cls.TEXT


class Exposition:
    """Renders snapshots; remembers the templates of all labels of the last one."""

    def __init__(self) -> None:
        self._families = {name: _FamilyLines(family) for name, family in FAMILIES.items()}

    def parts(self, snapshot: Snapshot, form: Format) -> Iterator[bytes]:
        """Yield the exposition in parts, so that other work may run between them.

        Args:
            snapshot: The numbers to render.
            form: The format to render them in.
        """
        waiting: list[str] = []
        waiting_bytes = 0
        for name, family in self._families.items():
            for text in family.texts(snapshot.families.get(name, Series()), form):
                waiting.append(text)
                waiting_bytes += len(text)
                if waiting_bytes >= _PART_BYTES:
                    yield _encoded(waiting)
                    waiting, waiting_bytes = [], 0
        if form is Format.OPENMETRICS:
            waiting.append("# EOF\n")
        yield _encoded(waiting)


def prometheus_buckets(histogram: HistogramSnapshot) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative (bound, count) pairs of prometheus-client, and the sum of all values."""
    counts = map(float, histogram.cumulative)
    return list(zip(_bound_texts(histogram.bounds), counts, strict=True)), histogram.sum


class _FamilyLines:
    """The lines of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._heads = {form: _head(family, form) for form in Format}
        self._groups: list[tuple[tuple[Labels, ...], str]] = []  # with the template of each
        self._group_size = max(_SERIES_PER_TEMPLATE // (len(family.buckets) + 3 if family.buckets else 1), 1)

    def texts(self, series: Series, form: Format) -> Iterator[str]:
        yield self._heads[form]
        for index, start in enumerate(range(0, len(series.labels), self._group_size)):
            labels, points = (column[start : start + self._group_size] for column in series)
            yield self._template(index, labels) % self._numbers(points, form)

    def _template(self, index: int, labels: tuple[Labels, ...]) -> str:
        if index < len(self._groups) and self._groups[index][0] == labels:
            return self._groups[index][1]
        lines = _bucket_lines if self._family.buckets else _line
        template = "".join([lines(self._family, each) for each in labels])
        self._groups[index : index + 1] = ((labels, template),)
        return template

    def _numbers(self, points: tuple[Any, ...], form: Format) -> tuple[Any, ...]:
        if not self._family.buckets:
            return points
        has_exemplars = form is Format.OPENMETRICS
        numbers = [_bucket_numbers(each, has_exemplars=has_exemplars) for each in points]
        return tuple(chain.from_iterable(numbers))


def _weighted(accepted: str) -> tuple[str, float]:
    """Return a media type of an ``Accept`` header and its weight, 0 for a version that is not spoken."""
    media_type, *parameters = (each.strip().lower() for each in accepted.split(";"))
    found = dict(each.split("=", 1) for each in parameters if "=" in each)
    if media_type == _OPENMETRICS and found.get("version", "1.0.0") != "1.0.0":
        return media_type, 0.0
    try:
        return media_type, float(found.get("q", "1"))
    except ValueError:
        return media_type, 0.0


def _head(family: Family, form: Format) -> str:
    name, unit = family.name, ""
    if form is Format.OPENMETRICS:
        name = name.removesuffix("_total")
        unit = "".join(f"# UNIT {name} {unit}\n" for unit in _UNITS if name.endswith(f"_{unit}"))
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{unit}"


def _line(family: Family, labels: Labels) -> str:
    return f"{family.name}{_braced(_pairs(family, labels))} %s\n"


def _bucket_lines(family: Family, labels: Labels) -> str:
    pairs = _pairs(family, labels)
    buckets = [_braced([*pairs, f'le="{bound}"']) for bound in _bound_texts(family.buckets)]
    lines = [f"{family.name}_bucket{labels} %s\n" for labels in buckets]
    ends = [f"{family.name}_{end}{_braced(pairs)} %s\n" for end in ("count", "sum")]
    return "".join([*lines, *ends])


def _bound_texts(bounds: Iterable[float]) -> list[str]:
    return [*map(floatToGoString, bounds), "+Inf"]


def _bucket_numbers(histogram: HistogramSnapshot, *, has_exemplars: bool) -> tuple[Any, ...]:
    counts: list[Any] = [*histogram.cumulative]
    total = counts[-1]
    if has_exemplars:
        for bucket, exemplar in histogram.exemplars.items():
            counts[bucket] = f"{counts[bucket]} # {_exemplar_text(exemplar)}"
    return (*counts, total, histogram.sum)


def _exemplar_text(exemplar: Exemplar) -> str:
    return f'{{trace_id="{exemplar.trace_id}"}} {exemplar.value} {exemplar.at_s:.3f}'


def _pairs(family: Family, labels: Labels) -> list[str]:
    named = zip(family.labels, labels, strict=True)
    return [f'{name}="{_escaped(value)}"' for name, value in named]


def _escaped(value: str) -> str:
    """Return a label value as it is written in a template, where a single % is the place of a number."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"").replace("%", "%%")


def _braced(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _encoded(texts: list[str]) -> bytes:
    return "".join(texts).encode(errors="replace")

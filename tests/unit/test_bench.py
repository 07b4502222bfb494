"""The benchmark's own arithmetic, and that the docs show what its results say."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import pages, plot, report
from bench.clients.sampler import ELSEWHERE, STAGES, stage_in, stage_of
from bench.latency import quantiles_ms
from bench.orders import SAMPLE, Orders
from bench.programs import CONSUMERS, PUBLISHERS, STEADY, Program
from bench.stages import shown
from bench.targets import targets

ROOT = Path(__file__).parents[2]
MS = 1_000_000


def client(name: str, *rates: float) -> dict[str, Any]:
    rounds = [{"messages_per_s": rate, "cpu_us": 10.0, "max_rss_mib": 40.0} for rate in rates]
    return {"name": name, "does": "something", "rounds": rounds}


def late(name: str, load: str, p50_ms: float, p99_ms: float) -> dict[str, Any]:
    return {"name": name, "load": load, "samples": 100, "p50_ms": p50_ms, "p95_ms": p99_ms, "p99_ms": p99_ms}


RESULTS: dict[str, Any] = {
    "machine": {
        "cpu": "A Processor",
        "cores": 2,
        "memory_gib": 4,
        "system": "Linux 1",
        "architecture": "any",
    },
    "versions": {"Python": "3.11"},
    "throughput": {
        "date": "2020-01-01",
        "messages": 1000,
        "rounds": 3,
        "orders": {"distinct": 10, "mean_bytes": 100},
        "left_out": ["nsqjs"],
        "clients": [client("pynsq", 10.0, 10.0, 20.0), client("nsqkit", 50.0, 60.0, 90.0)],
    },
    "latency": {
        "date": "2020-01-01",
        "seconds": 1.0,
        "rounds": 3,
        "left_out": [],
        "loads": ["20/s"],
        "clients": [late("nsqkit", "20/s", 1.5, 12.0), late("<pynsq>", "20/s", 100.0, 200.0)],
    },
}


@pytest.mark.parametrize(
    ("late_ms", "p50_ms", "p99_ms"),
    [
        pytest.param([7], 7, 7, id="one sample is every quantile"),
        pytest.param(list(range(1, 101)), 50, 99, id="of a hundred the ninety-ninth is P99"),
        pytest.param([3, 1, 2], 2, 3, id="the order does not matter"),
        pytest.param([1, 2], 1, 2, id="half of two is the first"),
    ],
)
def test_a_quantile_is_the_smallest_sample_that_so_many_are_not_above(
    late_ms: list[int], p50_ms: float, p99_ms: float
) -> None:
    found = quantiles_ms([each * MS for each in late_ms])
    assert (found["p50_ms"], found["p99_ms"]) == (p50_ms, p99_ms)


def test_orders_are_those_that_the_sample_type_takes_and_start_again_at_the_end() -> None:
    orders = Orders.read(SAMPLE)
    assert 0 < len(orders.bodies) < 2000
    assert not any(b'"quantity":0,' in body for body in orders.bodies)
    assert orders.first(len(orders.bodies) + 1)[-1] == orders.bodies[0]


@pytest.mark.parametrize(
    "part", [part for _, parts in STAGES for part in parts if part.startswith("nsqkit/")]
)
def test_every_stage_names_modules_that_there_are(part: str) -> None:
    modules = [str(path.relative_to(ROOT)) for path in (ROOT / "nsqkit").rglob("*.py")]
    assert any(part in module for module in modules)


def test_the_stage_is_that_of_the_innermost_module_that_has_one() -> None:
    assert stage_of("x/nsqkit/events/codec/decoder.py") == "decode"
    assert stage_of(__file__) == ""
    assert stage_in(None) == ELSEWHERE


def test_the_time_by_stage_is_its_share_of_a_messages_cpu() -> None:
    rows = [line.split() for line in shown({"decode": 3, ELSEWHERE: 1}, [("a.b", 4)], 20.0).splitlines()]
    assert ["decode", "75.0", "%", "15.00"] in rows


@pytest.mark.parametrize("program", [*CONSUMERS, *PUBLISHERS, STEADY], ids=lambda program: program.name)
def test_every_program_is_there_to_be_run(program: Program) -> None:
    named = [part.replace(".", "/") + ".py" for part in program.command if part.startswith("bench.")]
    named += [str(Path(part).relative_to(ROOT)) for part in program.command if part.endswith(".js")]
    named += ["bench/clients/consume.go"] if not named else []
    assert [each for each in named if not (ROOT / each).is_file()] == []


def test_targets_are_told_from_medians_and_only_where_both_were_measured() -> None:
    assert {target.says: (target.found, target.is_met) for target in targets(RESULTS)} == {
        "nsqkit over pynsq": (6.0, True),
        "P50 at 20/s": (1.5, True),
        "P99 at 20/s": (12.0, False),
    }


def test_a_table_has_the_fastest_first_and_says_what_was_left_out() -> None:
    table = report.tables(RESULTS)[0]
    assert [row[0] for row in table.rows] == ["nsqkit", "pynsq"]
    assert table.rows[1][5] == "0.17"
    assert table.note.endswith("Left out, as not there: nsqjs.")
    assert len({len(line) for line in table.text().splitlines()[1:-1]}) == 1


@pytest.mark.parametrize("section", ["throughput", "latency"])
def test_a_plot_is_well_formed_and_keeps_its_words_as_text(section: str) -> None:
    drawn = pages.PLOTS[section](RESULTS[section])
    said = {found.text for found in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 - ours
    assert {each["name"] for each in RESULTS[section]["clients"]} <= said


def test_a_plot_without_anybody_is_a_plot() -> None:
    nobody = {"clients": [], "loads": ["20/s"], "messages": 1, "rounds": 1}
    assert ET.fromstring(plot.throughput(nobody)) is not None  # noqa: S314 - ours
    assert ET.fromstring(plot.latency(nobody)) is not None  # noqa: S314 - ours


def test_a_page_has_what_stands_between_its_markers_written_anew() -> None:
    page = "a\n<!-- bench: latency -->\nold\n<!-- end -->\nb\n<!-- bench: cost -->\n<!-- end -->\n"
    filled = pages.filled(page, RESULTS)
    assert "old" not in filled
    assert "](performance-latency.svg)\n\n| load | client |" in filled
    assert filled.endswith(f"b\n<!-- bench: cost -->\n{pages.NOTHING}\n<!-- end -->\n")
    assert pages.filled(filled, RESULTS) == filled


def test_results_of_another_run_stay_if_machine_and_versions_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    both = {name: RESULTS[name] for name in ("machine", "versions")}
    pages.save(file, both | {"throughput": 1})
    pages.save(file, both | {"latency": 2})
    assert json.loads(file.read_text()) == both | {"throughput": 1, "latency": 2}
    pages.save(file, {**both, "versions": {}, "latency": 3})
    assert json.loads(file.read_text()) == {**both, "versions": {}, "latency": 3}


def test_the_page_on_performance_shows_the_results_that_are_kept() -> None:
    """`scripts/bench --write-docs` writes it."""
    results = pages.read(pages.RESULTS) if pages.RESULTS.exists() else None
    page = pages.PAGE.read_text()
    assert pages.filled(page, results) == page
    drawn = pages.plots(results) if results else {}
    assert {name: pages.PAGE.with_name(name).read_text() for name in drawn} == drawn

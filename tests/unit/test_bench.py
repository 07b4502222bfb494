"""The benchmark's own arithmetic, and that the docs show what its results say."""

import json
import os
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import pages, plot, report
from bench.clients.cpu import cpu_s
from bench.clients.sampler import ELSEWHERE, STAGES, stage_in, stage_of
from bench.everyday import Sample, figures, measured_parts, quantiles_ms
from bench.machine import has_pgo
from bench.orders import SAMPLE, Orders
from bench.programs import CONSUMERS, EVERYDAY, NSQKIT, PUBLISHERS, STEADY, TRACED, Program, ProgramError
from bench.rounds import interleaved, left_out, rotated
from bench.stages import shown
from bench.targets import Target, machine_class, targets
from handlers.orders import OrderCreated

ROOT = Path(__file__).parents[2]
MS = 1_000_000


def client(name: str, *rates: float, cpu_us: float = 10.0) -> dict[str, Any]:
    rounds = [{"messages_per_s": rate, "cpu_us": cpu_us, "max_rss_mib": 40.0} for rate in rates]
    return {"name": name, "does": "something", "rounds": rounds}


def late(name: str, load: str, p50_ms: float, p99_ms: float, cpu_us: float) -> dict[str, Any]:
    quantiles = {"p50_ms": p50_ms, "p95_ms": p99_ms, "p99_ms": p99_ms}
    return {"name": name, "load": load, "samples": 100, **quantiles, "rounds": [{"cpu_us": cpu_us}]}


RESULTS: dict[str, Any] = {
    "machine": {
        "cpu": "A Processor",
        "cores": 2,
        "memory_gib": 4,
        "system": "Linux 1",
        "architecture": "any",
        "has_pgo": False,
    },
    "versions": {"Python": "3.11"},
    "throughput": {
        "date": "2020-01-01",
        "messages": 1000,
        "rounds": 3,
        "orders": {"distinct": 10, "mean_bytes": 100},
        "left_out": ["nsqjs"],
        "clients": [
            client("pynsq", 10.0, 10.0, 20.0),
            client("nsqkit", 50.0, 60.0, 90.0),
            client("bare asyncio", 100.0, 100.0, 100.0, cpu_us=3.9),
        ],
    },
    "everyday": {
        "date": "2020-01-01",
        "seconds": 1.0,
        "rounds": 1,
        "left_out": [],
        "loads": ["100/s", "5,000/s, handler sleeps 1 ms"],
        "clients": [
            late("nsqkit", "100/s", 1.5, 12.0, cpu_us=80.0),
            late("pynsq", "100/s", 100.0, 200.0, cpu_us=100.0),
            late("nsqkit", "5,000/s, handler sleeps 1 ms", 1.0, 2.0, cpu_us=30.0),
            late("nsqkit at 1234567", "5,000/s, handler sleeps 1 ms", 1.0, 2.0, cpu_us=60.0),
        ],
    },
}

SLOW = RESULTS | {
    "throughput": RESULTS["throughput"]
    | {"clients": [*RESULTS["throughput"]["clients"][:2], client("bare asyncio", 100.0, cpu_us=4.0)]}
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


def test_small_orders_are_the_same_orders_as_bare_events() -> None:
    orders = Orders.read(SAMPLE)
    small = orders.small()
    assert small.are_bare
    assert len(set(small.bodies)) == len(orders.bodies)
    assert small.about(len(small.bodies))["mean_bytes"] == pytest.approx(222, rel=0.05)
    whole = [msgspec.json.decode(body)["data"]["order_id"] for body in orders.bodies]
    assert [msgspec.json.decode(body, type=OrderCreated).order_id for body in small.bodies] == whole


def test_each_load_has_its_latencies_without_those_of_its_warm_up() -> None:
    late_ns = [9, 9, 1, 2, 9, 3]
    assert list(measured_parts(late_ns, [(5000, 2, 2), (20, 1, 1)])) == [[1, 2], [3]]


def test_latencies_of_all_rounds_are_one_sample_and_cpu_is_kept_by_round() -> None:
    found = figures([Sample(5.0, [1 * MS, 2 * MS]), Sample(7.0, [3 * MS])])
    assert (found["samples"], found["p50_ms"], found["p99_ms"]) == (3, 2.0, 3.0)
    assert found["rounds"] == [{"cpu_us": 5.0}, {"cpu_us": 7.0}]


def test_each_round_starts_with_another_program_and_a_failing_one_is_left_out() -> None:
    first, second = NSQKIT, replace(NSQKIT, name="fails")
    asked: list[str] = []

    def measured(program: Program) -> int:
        asked.append(program.name)
        if program is second and len(asked) > 1:
            raise ProgramError(program.name)
        return len(asked)

    found = interleaved([first, second], 3, measured)
    assert asked == ["nsqkit", "fails", "nsqkit", "nsqkit"]
    assert found == {first: [1, 3, 4]}
    assert left_out([first, second], found) == ["fails"]
    assert rotated([first, second], 1) == [second, first]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(
            {"CONFIG_ARGS": "'--prefix=/usr' '--enable-optimizations'"}, True, id="asked for in configure"
        ),
        pytest.param(
            {"CONFIG_ARGS": "'--prefix=/usr'", "PGO_PROF_USE_FLAG": "-fprofile-use"},
            False,
            id="not asked for",
        ),
        pytest.param({"CONFIG_ARGS": "'--prefix=/usr'"}, None, id="traces removed, as by Debian"),
        pytest.param({}, None, id="no configure"),
    ],
)
def test_pgo_is_known_from_the_arguments_of_configure(
    config: dict[str, str], *, expected: bool | None
) -> None:
    assert has_pgo(config) is expected


def test_the_cpu_time_of_a_process_is_that_of_its_own_clock() -> None:
    before_s = time.process_time()
    assert before_s <= cpu_s(os.getpid()) <= time.process_time()


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


@pytest.mark.parametrize(
    "program", [*CONSUMERS, *EVERYDAY, *PUBLISHERS, *TRACED, STEADY], ids=lambda program: program.name
)
def test_every_program_is_there_to_be_run(program: Program) -> None:
    named = [part.replace(".", "/") + ".py" for part in program.command if part.startswith("bench.")]
    named += [str(Path(part).relative_to(ROOT)) for part in program.command if part.endswith(".js")]
    named += ["bench/clients/consume.go"] if not named else []
    assert [each for each in named if not (ROOT / each).is_file()] == []


def test_targets_use_medians_and_need_both_clients() -> None:
    assert {target.says: (target.found, target.verdict) for target in targets(RESULTS)} == {
        "nsqkit over pynsq, large orders": (6.0, "aim met"),
        "nsqkit over bare asyncio, large orders": (0.6, "aim met"),
        "P50 at 100/s": (1.5, "met"),
        "P99 at 100/s": (12.0, "missed"),
        "CPU per message over pynsq, 100/s": (0.8, "met"),
        "CPU per message over nsqkit at 1234567, 5,000/s, handler sleeps 1 ms": (0.5, "aim met"),
    }


def test_a_target_of_two_figures_is_the_one_of_the_machines_class() -> None:
    def over_pynsq(results: dict[str, Any]) -> list[tuple[float, float | None]]:
        return [
            (each.floor, each.aim) for each in targets(results) if each.says.startswith("nsqkit over pynsq")
        ]

    without_bare = RESULTS["throughput"] | {"clients": RESULTS["throughput"]["clients"][:2]}
    unknown = RESULTS | {"throughput": without_bare}
    assert [machine_class(results) for results in (RESULTS, SLOW, unknown)] == ["fast", "slow", None]
    assert [over_pynsq(results) for results in (RESULTS, SLOW, unknown)] == [[(4.0, 5.0)], [(6.0, 10.0)], []]


@pytest.mark.parametrize(
    ("found", "is_least", "verdict"),
    [
        pytest.param(1.9, True, "missed", id="below a lower limit"),
        pytest.param(2.0, True, "met", id="at a lower limit"),
        pytest.param(3.0, True, "aim met", id="at an aim above"),
        pytest.param(2.1, False, "missed", id="above an upper limit"),
        pytest.param(2.0, False, "met", id="at an upper limit"),
        pytest.param(1.0, False, "aim met", id="at an aim below"),
    ],
)
def test_a_verdict_compares_with_the_floor_then_with_the_aim(
    found: float, *, is_least: bool, verdict: str
) -> None:
    target = Target("a ratio", 2.0, found, 3.0 if is_least else 1.0, is_least=is_least)
    assert target.verdict == verdict


def test_the_report_says_class_and_build() -> None:
    assert "This is a fast machine. Python 3.11 was built without PGO." in report.about(RESULTS)
    assert report.tables(SLOW)[-1].note == "Figures for a slow machine."


def test_a_table_has_the_fastest_first_and_says_what_was_left_out() -> None:
    table = report.tables(RESULTS)[0]
    assert [row[0] for row in table.rows] == ["bare asyncio", "nsqkit", "pynsq"]
    assert table.rows[2][5] == "0.17"
    assert table.note.endswith("Left out, as not there: nsqjs.")
    assert len({len(line) for line in table.text().splitlines()[1:-1]}) == 1


def test_the_cost_of_traces_is_told_as_what_it_adds() -> None:
    clients = [client("without traces", 90.0, cpu_us=8.0), client("traces, 100 %", 9.0, cpu_us=180.5)]
    found = {"date": "2020-01-01", "messages": 10_000, "rounds": 1, "left_out": [], "clients": clients}
    table = report.tables(RESULTS | {"traces": found})[-2]
    assert [row[3:] for row in table.rows] == [("8.0", "+0.0"), ("180.5", "+172.5")]


@pytest.mark.parametrize("section", ["throughput", "everyday"])
def test_a_plot_is_well_formed_and_keeps_its_words_as_text(section: str) -> None:
    drawn = pages.PLOTS[section](RESULTS[section])
    said = {found.text for found in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 - ours
    assert {"nsqkit", "pynsq"} <= said


def test_a_plot_without_anybody_is_a_plot() -> None:
    nobody = {"clients": [], "loads": ["20/s"], "messages": 1, "rounds": 1}
    assert ET.fromstring(plot.throughput(nobody)) is not None  # noqa: S314 - ours
    assert ET.fromstring(plot.everyday(nobody)) is not None  # noqa: S314 - ours


def test_a_page_has_what_stands_between_its_markers_written_anew() -> None:
    page = "a\n<!-- bench: everyday -->\nold\n<!-- end -->\nb\n<!-- bench: cost -->\n<!-- end -->\n"
    filled = pages.filled(page, RESULTS)
    assert "old" not in filled
    assert "](performance-everyday.svg)\n\n| load | client |" in filled
    assert filled.endswith(f"b\n<!-- bench: cost -->\n{pages.NOTHING}\n<!-- end -->\n")
    assert pages.filled(filled, RESULTS) == filled


def test_results_of_another_run_stay_if_machine_and_versions_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    both = {name: RESULTS[name] for name in ("machine", "versions")}
    pages.save(file, both | {"throughput": 1})
    pages.save(file, both | {"cost": 2})
    assert json.loads(file.read_text()) == both | {"throughput": 1, "cost": 2}
    pages.save(file, {**both, "versions": {}, "cost": 3})
    assert json.loads(file.read_text()) == {**both, "versions": {}, "cost": 3}


def test_the_page_on_performance_shows_the_results_that_are_kept() -> None:
    """`scripts/bench --write-docs` writes it."""
    results = pages.read(pages.RESULTS) if pages.RESULTS.exists() else None
    page = pages.PAGE.read_text()
    assert pages.filled(page, results) == page
    drawn = pages.plots(results) if results else {}
    assert {name: pages.PAGE.with_name(name).read_text() for name in drawn} == drawn


def test_two_workers_of_one_parent_are_compared_with_two_by_hand() -> None:
    services = [
        {"started": "two nsqkit run", "cpu_us": 10.0},
        {"started": "nsqkit run --workers 2", "cpu_us": 10.2},
    ]
    results = RESULTS | {"cost": {"services": services}}
    (target,) = [each for each in targets(results) if "--workers" in each.says]
    assert target.found == pytest.approx(1.02)
    assert target.is_met


def test_an_open_page_is_compared_with_none_of_the_same_processes() -> None:
    def service(started: str, *rates: float, is_open: bool) -> dict[str, Any]:
        rounds = [{"messages_per_s": rate, "cpu_us": 9.0} for rate in rates]
        return {"started": started, "is_open": is_open, "rounds": rounds}

    services = [
        service("nsqkit run", 90.0, 100.0, 110.0, is_open=False),
        service("nsqkit run", 97.0, is_open=True),
        service("nsqkit run --workers 2", 200.0, is_open=False),
        service("nsqkit run --workers 2", 199.0, is_open=True),
    ]
    page = {"date": "2020-01-01", "messages": 10, "rounds": 3, "left_out": [], "services": services}
    results = {name: RESULTS[name] for name in ("machine", "versions")} | {"page": page}
    assert [(target.found, target.verdict) for target in targets(results)] == [
        (0.97, "missed"),
        (0.995, "met"),
    ]
    assert "| `nsqkit run` | 100 | 97 | 9.0 | 9.0 |" in report.tables(results)[0].markdown()

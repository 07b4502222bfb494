"""The command `scripts/chaos`: runs the phases, then the audit as a process of its own."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tests.chaos import checkup, faults, report
from tests.chaos.about import folders
from tests.chaos.audit import audit
from tests.chaos.bridge.command import on_real_brokers
from tests.chaos.bridge.command import report as report_bridge
from tests.chaos.bridge.run import Plan as BridgePlan
from tests.chaos.bridge.run import shuffled
from tests.chaos.effects.command import on_postgresql
from tests.chaos.effects.command import report as report_effects
from tests.chaos.memory import Sample, growth, sample
from tests.chaos.phases import Phase, many, phases
from tests.chaos.run import run_phase
from tests.chaos.shop import report as shop_report
from tests.chaos.shop import run as shop_run
from tests.chaos.soak import NAME, soak
from tests.chaos.tool import INTERRUPTED, check_new, finish, judged_after, made
from tests.chaos.workers import Workers

if TYPE_CHECKING:
    from tests.chaos.bridge.books import Finding as BridgeFinding
    from tests.chaos.effects.books import Finding

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    *,
    orders: Annotated[
        int, typer.Option(min=1, help="Confirmed at least, where all faults come together.")
    ] = 2000,
    workers: Annotated[int, typer.Option(min=1, help="At a time.")] = 3,
    rate: Annotated[
        float, typer.Option(min=1, help="Orders per second, where all faults come together.")
    ] = 400.0,
    kills: Annotated[int, typer.Option(min=0, help="Workers to end with SIGKILL.")] = 4,
    deploys: Annotated[int, typer.Option(min=0, help="Workers to replace, with SIGTERM.")] = 4,
    nsqd_restarts: Annotated[
        int, typer.Option(min=0, help="nsqd to end with SIGTERM and to start again.")
    ] = 2,
    cuts: Annotated[int, typer.Option(min=0, help="TCP connections to cut.")] = 10,
    stalls: Annotated[int, typer.Option(min=0, help="nsqd to stop for 3 s, with SIGSTOP.")] = 2,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 1,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds until the rest is given up.")] = 170.0,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PHASE", help="Only this one; may be repeated.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where to leave ledgers and logs; must not exist.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables for a document.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything that was found.")] = False,
) -> None:
    """Publish orders to several nsqd, break everything around the workers, and account for every order."""
    if context.invoked_subcommand is not None:
        return
    plan = {
        faults.KILL: kills,
        faults.DEPLOY: deploys,
        faults.NSQD_RESTART: nsqd_restarts,
        faults.CUT: cuts,
        faults.STALL: stalls,
    }
    known = phases(plan, orders, workers=workers, rate_per_s=rate, seed=seed)
    names = [each.name for each in known]
    for name in only or ():
        if name not in names:
            raise typer.BadParameter(f"no phase {name!r}; there are {', '.join(names)}", param_hint="--only")
    check_new(folder)
    chosen = [each for each in known if not only or each.name in only]
    form = [name for name, is_on in (("--markdown", markdown), ("--json", json)) if is_on]
    judge = partial(_audited, form=form)
    raise typer.Exit(judged_after(lambda target: _all(chosen, target, time_limit), folder, judge))


@app.command()
def memory(
    orders: Annotated[int, typer.Argument(min=1000, help="To let go by.")] = 1_000_000,
    *,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds until the rest is given up.")] = 900.0,
) -> None:
    """Let many orders go through one worker. The exit code is 1 if its memory grows, or if one is lost."""
    samples: list[Sample] = []

    async def watch(workers: Workers) -> None:
        await sample(workers.first_pid, lambda: workers.succeeded, samples)

    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        phase = many(orders)
        code = finish(run_phase(phase, made(Path(folder) / phase.name), time_limit, watch))
        code = code or _audited(Path(folder))
    if code:
        raise typer.Exit(code)
    found = growth(samples)
    typer.echo(f"\n{found}")
    raise typer.Exit(not found.is_flat)


@app.command("soak")
def soak_command(
    *,
    minutes: Annotated[float, typer.Option(min=0.1, help="For which faults begin.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="Where to leave ledgers and logs; must not exist.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables for a document.")] = False,
) -> None:
    """Let random faults come and go around the same workers. The exit code is 1 if one does lasting harm."""
    check_new(folder)
    form = ["--markdown"] if markdown else []
    judge = partial(_audited, form=form)
    raise typer.Exit(judged_after(lambda target: soak(made(target / NAME), minutes, seed), folder, judge))


@app.command("effects")
def effects_command(
    *,
    messages: Annotated[int, typer.Option(min=1, help="Orders at each point.")] = 160,
    kills: Annotated[int, typer.Option(min=1, help="Processes to end with SIGKILL, at each point.")] = 5,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 1,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds until the rest is given up.")] = 170.0,
    folder: Annotated[
        Path | None, typer.Option(help="Where to leave ledgers and logs; must not exist.")
    ] = None,
) -> None:
    """Kill processes between two of their writes to PostgreSQL and nsqd, and account for every effect.

    The exit code is 1 if an event is lost, an effect happens twice, or a saga does not end.
    """
    check_new(folder)
    found: list[Finding] = []

    async def work(target: Path) -> None:
        inside = made(target / "effects")
        found.extend(await on_postgresql(inside, messages, kills, seed=seed, time_limit_s=time_limit))

    raise typer.Exit(judged_after(work, folder, lambda _: report_effects(found)))


@app.command("bridge")
def bridge_command(
    *,
    orders: Annotated[int, typer.Option(min=1, help="Confirmed by Kafka at least.")] = 2000,
    rate: Annotated[float, typer.Option(min=1, help="Orders per second.")] = 100.0,
    faults: Annotated[int, typer.Option(min=0, help="Faults of each kind, one after the other.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the order of the faults.")] = 1,
    wait: Annotated[
        float, typer.Option(min=1, help="Seconds until orders must pass after a fault, and at the end.")
    ] = 120.0,
    returns: Annotated[
        bool, typer.Option("--returns", help="Let them go on from RabbitMQ through NSQ to Kafka.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where to leave ledgers and logs; must not exist.")
    ] = None,
) -> None:
    """Send orders from Kafka through NSQ to RabbitMQ, stop everything on their way, and account for them.

    The exit code is 1 if an order is lost, or if no fault explains a duplicate.
    """
    check_new(folder)
    plan = BridgePlan(orders, rate, shuffled(faults, seed), wait)
    found: list[BridgeFinding] = []

    async def work(target: Path) -> None:
        found.append(await on_real_brokers(plan, made(target / "bridge"), returns=returns))

    raise typer.Exit(judged_after(work, folder, lambda _: report_bridge(found[0])))


@app.command("audit")
def audit_command(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Of a run.")],
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables for a document.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything that was found.")] = False,
) -> None:
    """Compare the ledgers that a run has left. The exit code is 1 if anything is lost or not as promised."""
    findings = [audit(each) for each in folders(folder)]
    if not findings:
        typer.echo(f"chaos: no phase has come to its end in {folder}", err=True)
        raise typer.Exit(1)
    form = report.as_json if json else report.markdown if markdown else report.text
    typer.echo(form(findings))
    if not json:
        for record in filter(None, map(checkup.load, folders(folder))):
            typer.echo(f"\n{report.soaked(record, is_markdown=markdown)}")
    if not json and markdown:
        for each in findings:
            for problem in each.problems:
                typer.echo(f"{each.about.name}: {problem}", err=True)
    raise typer.Exit(any(each.problems for each in findings))


@app.command("orders")
def orders_command(
    *,
    orders: Annotated[int, typer.Option(min=1, help="To place.")] = 300,
    rounds: Annotated[
        int,
        typer.Option(
            min=0,
            help="How often each process is killed; 0 compares the counts of monitors and nsqd instead.",
        ),
    ] = 2,
    rate: Annotated[float, typer.Option(min=0, help="Orders per second; 0 for as many as possible.")] = 5.0,
    wait: Annotated[float, typer.Option(min=1, help="Seconds for all to end after the last order.")] = 120.0,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="The embedded broker and SQLite instead of nsqd and PostgreSQL."),
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where to leave databases, mails and logs; must not exist.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="A table for a document.")] = False,
) -> None:
    """Kill every process of the order system in turn, and compare its books.

    The exit code is 1 if they disagree, or if an order is open.
    """
    check_new(folder)
    plan = shop_run.Plan(orders, rounds, rate, wait, has_points=rounds > 0)
    target = made(folder or Path(tempfile.mkdtemp(prefix="chaos-")) / "orders")
    found: list[shop_run.Finding] = []

    async def work() -> None:
        found.append(await shop_run.run_on(plan, target, is_embedded=embedded))

    code = finish(work())
    for each in found:
        typer.echo(shop_report.markdown(each) if markdown else shop_report.text(each))
        code = 1 if each.problems else 0
    if folder is None and code in {0, INTERRUPTED}:
        shutil.rmtree(target.parent)
    else:
        typer.echo(f"chaos: databases and logs are in {target}", err=True)
    raise typer.Exit(code)


def _audited(folder: Path, form: Sequence[str] = ()) -> int:
    """Let a process of its own compare the ledgers, and return its exit code."""
    command = (sys.executable, "-m", "tests.chaos", "audit", str(folder), *form)
    return subprocess.run(command, check=False).returncode


async def _all(chosen: Sequence[Phase], folder: Path, time_limit_s: float) -> None:
    give_up_s = time.monotonic() + time_limit_s
    for number, phase in enumerate(chosen):
        typer.echo(
            f"{phase.name}: {phase.orders} orders, {dict(phase.faults) or 'no faults from outside'}", err=True
        )
        left_s = max(1.0, give_up_s - time.monotonic())
        await run_phase(phase, made(folder / f"{number:02}-{phase.name}"), left_s)


if __name__ == "__main__":
    app()

"""Command: what `scripts/chaos effects` does and prints."""

from collections.abc import Sequence
from pathlib import Path

import typer

from tests import postgres
from tests.chaos.effects.books import Finding, table
from tests.chaos.effects.points import POINTS
from tests.chaos.effects.run import run
from tests.chaos.errors import ChaosFailedError
from tests.chaos.programs import nsq_program


async def on_postgresql(
    folder: Path, messages: int, kills: int, *, seed: int, time_limit_s: float
) -> list[Finding]:
    """Kill processes at every point, on nsqd and PostgreSQL, and return what has become of the orders.

    Args:
        folder: Where ledgers and logs go.
        messages: Orders at each point.
        kills: Processes to kill at each point.
        seed: Of all draws.
        time_limit_s: Longest wait for the rest, in seconds.

    Raises:
        ChaosFailedError: If there is no PostgreSQL, or as of ``run``.
    """
    if postgres.programs() is None:
        raise ChaosFailedError("no PostgreSQL: run scripts/install-postgres")
    nsqd = nsq_program("nsqd")
    with postgres.running() as url:
        return await run(
            url,
            folder,
            nsqd,
            POINTS,
            messages=messages,
            kills=kills,
            seed=seed,
            time_limit_s=time_limit_s,
        )


def report(found: Sequence[Finding]) -> int:
    """Print what was found, and return the exit code: 1 if an effect is not as it should be.

    Args:
        found: What has become of the orders of each point.
    """
    for line in table(POINTS, found):
        typer.echo(line)
    for each in found:
        for name, orders in (("lost", each.lost), ("twice", each.twice)):
            for order in orders:
                typer.echo(f"{name}: {order}", err=True)
    return 0 if all(each.is_right for each in found) else 1

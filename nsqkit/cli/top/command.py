"""`nsqkit top`: which workers are shown, how, and with which exit code it ends."""

import json as json_text
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nsqkit.ops.top import Look
    from nsqkit.settings.settings import Settings

_FAILED = 1
_WRONG_USE = 2


@options.with_settings(options.FILE)
def top(
    address: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ADDRESS",
            help="HOST:PORT of a worker's admin port. [default: settings admin_host, admin_port]",
        ),
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once, and end.")] = False,
    interval: Annotated[float, typer.Option(metavar="S", min=1.0, help="Seconds between two looks.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each look.")] = False,
    settings: "Settings",
) -> int:
    """Show which handler fails, why, since when, how much is affected, and whether it is saturation.

    It is the first screen of the monitor page, for one or several workers. Keys: q quits, s sorts. Without a
    terminal it prints once. A worker that requires a token gets the setting admin_token.
    """
    import asyncio

    from nsqkit.ops.top import look_at
    from nsqkit.policy.address import join_address
    from nsqkit.settings.secret import secret_of

    addresses = address or [join_address(settings.admin_host, settings.admin_port)]
    token = secret_of(settings, "admin_token") or ""

    async def look() -> "tuple[Look, ...]":
        return await look_at(addresses, token)

    if json:
        return asyncio.run(_print_json(look, None if once else interval))
    return asyncio.run(_show(look, None if once or not _is_terminal() else interval))


def _is_terminal() -> bool:
    from rich.console import Console

    return sys.stdin.isatty() and sys.stdout.isatty() and not Console().is_dumb_terminal


async def _show(look: "Callable[[], Awaitable[tuple[Look, ...]]]", interval_s: float | None) -> int:
    """Show one look; or one after another, unless the first has no answer."""
    looks = await look()
    if interval_s is None or not any(each.screen for each in looks):
        return _print(looks)
    from rich.console import Console

    from nsqkit.cli.top.live import Screen

    await Screen(Console(), looks).run(look, interval_s)
    return 0


def _print(looks: "Sequence[Look]") -> int:
    from nsqkit.cli import tables
    from nsqkit.cli.top.screen import WIDE, parts

    if any(each.screen for each in looks):
        tables.show(*parts(looks, width=WIDE))
    for each in looks:
        if each.error is not None:
            terminal.echo(f"error: {each.error}", err=True)
    return _code(looks)


async def _print_json(look: "Callable[[], Awaitable[tuple[Look, ...]]]", interval_s: float | None) -> int:
    import asyncio

    while True:
        looks = await look()
        workers = [
            {"address": each.address, "screen": each.screen, "error": str(each.error) if each.error else None}
            for each in looks
        ]
        terminal.echo_styled(json_text.dumps({"at": round(time.time(), 1), "workers": workers}))
        sys.stdout.flush()
        if interval_s is None:
            return _code(looks)
        await asyncio.sleep(interval_s)


def _code(looks: "Sequence[Look]") -> int:
    """Return 0 if all have answered, and 2 if a setting must be corrected."""
    from nsqkit.errors import SettingsError

    errors = [each.error for each in looks if each.error is not None]
    is_wrong = any(isinstance(each, SettingsError) for each in errors)
    return _WRONG_USE if is_wrong else _FAILED if errors else 0

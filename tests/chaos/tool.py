"""Tool: how a command of `scripts/chaos` runs, ends, and leaves its folder."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import typer

from tests.chaos.errors import ChaosFailedError

INTERRUPTED: Final = 130


def judged_after(
    work: Callable[[Path], Coroutine[Any, Any, object]], folder: Path | None, judge: Callable[[Path], int]
) -> int:
    """Run something in a folder, judge what it leaves there, and return the exit code.

    The folder is kept if it was named, or if something was found.
    """
    target = folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    code = 0
    try:
        code = finish(work(target)) or judge(target)
    finally:
        if folder is None and code in {0, INTERRUPTED}:
            shutil.rmtree(target)
        else:
            typer.echo(f"chaos: ledgers and logs are in {target}", err=True)
    return code


def check_new(folder: Path | None) -> None:
    """Return if a folder may be used.

    Raises:
        typer.BadParameter: If it exists.
    """
    if folder is not None and folder.exists():
        raise typer.BadParameter(f"{folder} exists; name one that does not", param_hint="--folder")


def made(folder: Path) -> Path:
    """Create a folder, and return it."""
    folder.mkdir(parents=True)
    return folder


def finish(work: Coroutine[Any, Any, object]) -> int:
    """Run something to its end, and return the exit code; SIGTERM and Ctrl-C end it and all its processes."""

    async def main() -> None:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it starts with &
    try:
        asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except (ChaosFailedError, ExceptionGroup) as failed:
        ours, others = ExceptionGroup("", [failed]).split(ChaosFailedError)
        if others is not None:
            raise
        typer.echo(f"chaos: {_first(ours)}", err=True)
        return 2
    return 0


def _first(error: BaseException | None) -> BaseException | None:
    """Return the first of the errors that some tasks had."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error

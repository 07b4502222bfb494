"""Progress: a bar on the terminal while something is published; nothing where there is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@contextmanager
def progress(
    title: str, settings: "Settings", *, total: int | None = None, in_bytes: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, if it is a terminal.

    Args:
        title: One word for the work that is shown.
        settings: The settings of the log; its lines appear above the bar.
        total: The amount of all; None if only the first call of the result says it.
        in_bytes: Whether the numbers are bytes.

    Yields:
        A function to call with the amount that is done and the amount of all.
    """
    if total == 1 or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from nsqkit.telemetry import logs

    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        logs.configure_logs(settings)  # again: lines now go above the bar
        task = bar.add_task(title, total=total)
        yield lambda done, of_all: bar.update(task, completed=done, total=of_all)

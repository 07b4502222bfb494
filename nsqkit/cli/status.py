"""`nsqkit status`: the topics and channels of handlers, as nsqd reports them."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@options.with_settings(options.NSQ, options.APP, options.FILE)
def status(modules: options.Modules, *, json: options.Json = False, settings: "Settings") -> int:
    """Print depth, in flight, deferred, clients and pauses of the channels of handlers.

    A row is the sum over all nsqd that you name or that nsqlookupd knows; --json has each nsqd. A handler
    also reads its .retry topic.
    """
    from nsqkit.cli import tables
    from nsqkit.loading.loader import load
    from nsqkit.ops.status import status as ask

    report = ask(load(modules, settings).handlers, settings)
    if json:
        tables.show_json(asdict(report))
    elif report.asked:
        tables.show(tables.channels(report.channels))
    if not json:
        for problem in report.problems:
            terminal.echo(f"error: {problem}", err=True)
    return 1 if report.problems else 0

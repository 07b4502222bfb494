"""`nsqkit new`: writes a handler module and its test as a starting point."""

from pathlib import Path
from typing import Annotated

import typer

from nsqkit.cli import options, terminal


def new(
    module: Annotated[Path, typer.Argument(metavar="FILE", help="Module, such as handlers/returns.py.")],
    *,
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="Topic of the handler.")],
    channel: Annotated[str, typer.Option(metavar="CHANNEL", help="Channel of the handler.")],
    event: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the event. [default: return.created for returns.py]"),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Test module. [default: named after FILE, in tests/unit or tests]"),
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Write a handler module and its test as a starting point. No file is overwritten."""
    from nsqkit.loading.scaffold import Scaffold

    scaffold = Scaffold(Path.cwd(), module, topic, channel, event, test)
    for path in scaffold.write():
        terminal.echo(f"wrote {path}")
    terminal.echo(f"try: python -m pytest {scaffold.test_file}")
    terminal.echo(f"     nsqkit run {scaffold.dotted} --dev --reload")
    return 0

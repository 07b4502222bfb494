"""`nsqkit new`: a handler module and its test to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from nsqkit.cli import options


def new(
    module: Annotated[Path, typer.Argument(metavar="FILE", help="The module, such as handlers/returns.py.")],
    *,
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="What the handler reads.")],
    channel: Annotated[str, typer.Option(metavar="CHANNEL", help="On which channel.")],
    event: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the event. [default: return.created for returns.py]"),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The test. [default: as FILE, in tests/unit or tests]"),
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Write a handler module and its test, to go on from. Nothing is overwritten."""
    from nsqkit.loading.scaffold import Scaffold

    scaffold = Scaffold(Path.cwd(), module, topic, channel, event, test)
    for path in scaffold.write():
        typer.echo(f"wrote {path}")
    typer.echo(f"try: python -m pytest {scaffold.test_file}")
    typer.echo(f"     nsqkit run {scaffold.dotted} --dev --reload")
    return 0

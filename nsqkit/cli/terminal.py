"""Terminal: the one place through which commands print; no name, body or error can control the terminal."""

from typing import Any

import typer

from nsqkit.policy.visible import visible


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text with its control characters visible.

    Args:
        text: The text; line breaks and tabs stay.
        err: Whether to print on standard error instead of standard output.
        nl: Whether a line break follows.
    """
    typer.echo(visible(text), err=err, nl=nl)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    echo(f"warning: {text}", err=True)


def style(text: str, **styles: Any) -> str:
    """Return a text with its control characters visible, in a colour; for :func:`echo_styled`.

    Args:
        text: The text.
        **styles: See :func:`typer.style`.
    """
    return typer.style(visible(text, keep=""), **styles)


def echo_styled(*parts: str) -> None:
    """Print what :func:`style` or a table has returned, separated by spaces."""
    typer.echo(" ".join(parts))

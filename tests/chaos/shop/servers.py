"""Servers: a real nsqd and a real PostgreSQL for the order system, on free ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.errors import ChaosFailedError
from tests.chaos.programs import Programs, answering, nsq_program
from tests.ports import free_port
from tests.postgres import programs as postgres_programs
from tests.postgres import running


@dataclass(frozen=True)
class Servers:
    """Addresses of real servers.

    Args:
        nsqd: ``host:port`` of nsqd.
        nsqd_http: ``host:port`` of its HTTP port.
        postgres: URL of a PostgreSQL, as a user who may create databases.
    """

    nsqd: str
    nsqd_http: str
    postgres: str


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Servers]:
    """Run the servers until the block ends.

    Args:
        folder: For nsqd's data and its log.

    Raises:
        ChaosFailedError: If one is not installed, or does not start.
    """
    if postgres_programs() is None:
        raise ChaosFailedError("PostgreSQL not found: run scripts/install-postgres")
    tcp, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    addresses = (f"-tcp-address={tcp}", f"-http-address={http}", "-broadcast-address=127.0.0.1")
    command = (str(nsq_program("nsqd")), *addresses, f"-data-path={folder}")
    programs = Programs(folder)
    try:
        await answering(programs.start("nsqd", command), http)
        with running() as postgres:
            yield Servers(tcp, http, postgres)
    finally:
        await programs.end()

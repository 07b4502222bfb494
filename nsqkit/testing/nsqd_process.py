"""A real nsqd as a child process: found, started on free ports, and stopped."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nsqkit.testing.errors import HarnessError

START_S = 10.0
_LISTENS = re.compile(rb"(TCP|HTTP): listening on (\S+)")


def nsqd_program() -> str:
    """Return the path of nsqd, from the folder NSQKIT_NSQD_BIN, else from .nsqd/bin, else from PATH.

    Raises:
        HarnessError: If it is in none of them.
    """
    named = os.environ.get("NSQKIT_NSQD_BIN")
    places = named or os.pathsep.join((str(Path(".nsqd", "bin").absolute()), os.environ.get("PATH", "")))
    found = shutil.which("nsqd", path=places)
    if found is None:
        raise HarnessError(
            f"nsqd is not in {named or '.nsqd/bin, nor on PATH'}; NSQKIT_NSQD_BIN names its folder"
        )
    return found


@asynccontextmanager
async def nsqd(folder: str) -> AsyncIterator[dict[str, str]]:
    """Run nsqd, and yield its addresses by the keys ``TCP`` and ``HTTP``.

    Args:
        folder: An existing folder for its data.

    Raises:
        HarnessError: If nsqd is not found, or does not start.
    """
    process = await asyncio.create_subprocess_exec(
        nsqd_program(),
        "-tcp-address=127.0.0.1:0",
        "-http-address=127.0.0.1:0",
        f"-data-path={folder}",
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        addresses = await _addresses(process)
        reader = asyncio.create_task(_read_on(process))
        yield addresses
        reader.cancel()
    finally:
        await _stop(process)


async def _addresses(process: Process) -> dict[str, str]:
    """Return the addresses that nsqd reports in its log."""
    found: dict[str, str] = {}
    log = b""
    async with asyncio.timeout(START_S):
        while len(found) < len(("TCP", "HTTP")) and (line := await _log(process).readline()):
            log += line
            if match := _LISTENS.search(line):
                found[match[1].decode()] = match[2].decode()
    if len(found) < len(("TCP", "HTTP")):
        raise HarnessError(f"nsqd did not start: {log.decode(errors='replace')}")
    return found


async def _read_on(process: Process) -> None:
    """Read nsqd's log, so that nsqd does not block on a full pipe."""
    while await _log(process).readline():
        pass


def _log(process: Process) -> asyncio.StreamReader:
    if process.stderr is None:
        raise HarnessError("nsqd's log is not piped")
    return process.stderr


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(START_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

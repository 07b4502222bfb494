"""Supervised: the processes of the order system, each started again when it ends, as a supervisor does."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

import httpx

from examples.orders.system import READY, Processes, commands
from tests.waiting import until

_READY_S: Final = 120.0  # the longest, on a machine that has much else to do


class Supervised(Processes):
    """The processes of the Procfile, started again whenever one ends.

    Args:
        variables: Their environment.
        logs: Folder of their logs.
        without: Names to leave out.

    Attributes:
        ends: How often each one has ended before the end of the run.
    """

    def __init__(self, variables: Mapping[str, str], logs: Path, without: Sequence[str] = ()) -> None:
        super().__init__(variables, logs, without)
        self.ends: Counter[str] = Counter()
        self._supervisors: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._supervisors = [
            asyncio.create_task(self._supervise(name, command))
            for name, command in commands()
            if name in self._running
        ]
        return self

    async def __aexit__(self, *error: object) -> None:
        for each in self._supervisors:
            each.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        await super().__aexit__(*error)

    async def kill(self, name: str) -> None:
        """End a process with SIGKILL, once it is ready, if it can be asked.

        Args:
            name: Its name in the Procfile.
        """
        if name in READY:
            await self.wait_ready(name)
        self._running[name].kill()

    async def wait_ready(self, *names: str) -> None:
        """Wait until processes are ready, although others end meanwhile.

        Args:
            names: Those that can be asked; by default all of them.

        Raises:
            AssertionError: If it takes too long.
        """
        async with httpx.AsyncClient(trust_env=False) as http:
            for name in names or READY.keys() & self._running.keys():
                await until(
                    partial(_answers, http, READY[name].format(**self._variables)), timeout_s=_READY_S
                )

    async def _supervise(self, name: str, command: str) -> None:
        while True:
            await self._running[name].wait()
            self.ends[name] += 1
            await self._start(name, command)


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await http.get(url)).is_success
    return False

"""A team's folder of handler modules, and what stands in them."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from nsqkit.errors import LoadError
from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.loader import load
from nsqkit.settings.settings import Settings

NUMBERS = itertools.count(1)
PRELUDE = """\
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from nsqkit import (
    Context, DeadLetter, Exponential, Handler, KillSwitch, Pause, RateLimit, Requeue, RetryPolicy, Settings,
    event, resource,
)


@event("TEAM.created", version=1, topic="TEAM")
@dataclass
class Created:
    order_id: str


class Warehouse: ...


class ColdWarehouse(Warehouse): ...


"""
NOTIFY = """\
class Notify(Handler[Created], channel="notify"):
    async def handle(self, event: Created, ctx: Context) -> None: ...


"""
CHARGE = """\
class Charge(Handler[Created], channel="charge"):
    def handle(self, event: Created, ctx: Context) -> None: ...


"""


class Team:
    """A team's folder of modules; TEAM in their text is a name that no other test has.

    The registry of events is that of the process, so names and topics must not meet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"team_{next(NUMBERS)}"

    def write(self, text: str, path: str = "TEAM.py", *, prelude: bool = True) -> Path:
        file = self.folder / path.replace("TEAM", self.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((PRELUDE * prelude + text).replace("TEAM", self.name), encoding="utf-8")
        return file

    def load(self, *targets: str, **settings: Any) -> tuple[HandlerSpec, ...]:
        named = [target.replace("TEAM", self.name) for target in targets or ("TEAM",)]
        return load(named, Settings(**settings)).handlers

    def problems(self, *targets: str, **settings: Any) -> list[str]:
        """What is wrong, the team's name written TEAM again; the same each time that it is asked."""
        told = []
        for _ in range(2):
            with pytest.raises(LoadError) as caught:
                self.load(*targets, **settings)
            told.append([problem.replace(self.name, "TEAM") for problem in caught.value.problems])
        assert told[0] == told[1], "a second load in the same process tells something else"
        return told[0]


def at(file: Path, text: str) -> str:
    """Return ``file:line`` of the first line with a text; TEAM for the team's own name."""
    lines = file.read_text(encoding="utf-8").splitlines()
    number = next(number for number, line in enumerate(lines, 1) if text in line)
    return f"{file.parent}{os.sep}TEAM.py:{number}" if file.stem.startswith("team_") else f"{file}:{number}"


NEEDY = NOTIFY.replace("    async def", "    def __init__(self, PARAMETER) -> None: ...\n    async def")
YIELDS = """\
@resource
def NAME(PARAMETER) -> Iterator[TYPE]:
    yield TYPE()


"""


def yields(name: str, kind: str, parameter: str = "") -> str:
    return YIELDS.replace("NAME", name).replace("TYPE", kind).replace("PARAMETER", parameter)

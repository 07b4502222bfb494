"""The measured programs: their commands, how to run them, and how to read their answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.clients.tally import Plan

ROOT = Path(__file__).parents[1]
INSTALLED = ROOT / ".clients"
CLIENT_LIMIT_S = 240.0
_NODE_MODULES = INSTALLED / "node" / "node_modules"


class ProgramError(Exception):
    """A program ended without an answer."""


@dataclass(frozen=True)
class Program:
    """One program that consumes or publishes.

    Args:
        name: Unique name in tables and plots.
        does: What it does with a message, in a few words.
        command: Command that starts it; the plan is appended as an argument.
        needs: File that exists if it is installed; None if it is always installed.
        variant: Name of the code path, such as ``on loop``; empty for the default one.
        max_in_flight: Messages that the consumer may have in flight.
        can_sleep: Whether its handler sleeps if the plan says so.
        folder: Folder in which it runs; Python finds ``nsqkit`` there first.
    """

    name: str
    does: str
    command: tuple[str, ...]
    needs: Path | None = None
    variant: str = ""
    max_in_flight: int = 200
    can_sleep: bool = False
    folder: Path = ROOT

    @property
    def is_installed(self) -> bool:
        """Whether the program is installed."""
        return shutil.which(self.command[0]) is not None and (self.needs is None or self.needs.exists())

    def started(self, plan: Plan) -> "subprocess.Popen[str]":
        """Start the program with a plan."""
        argument = json.dumps(asdict(replace(plan, variant=self.variant, max_in_flight=self.max_in_flight)))
        return subprocess.Popen(  # noqa: S603 - our own programs
            [*self.command, argument],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def running(self, plan: Plan) -> Iterator["Running"]:
        """Run the program; kill it at the end if it still runs."""
        process = self.started(plan)
        try:
            yield Running(self.name, process)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def run(self, plan: Plan) -> dict[str, Any]:
        """Run the program to its end and return its answer."""
        with self.running(plan) as running:
            return running.answer()


@dataclass(frozen=True)
class Running:
    """A running program.

    Args:
        name: Name of the program, for errors.
        process: Process of the program.
    """

    name: str
    process: "subprocess.Popen[str]"

    def answer(self, limit_s: float = CLIENT_LIMIT_S) -> dict[str, Any]:
        """Wait for the program's end and return its answer: its lines of JSON, merged.

        Raises:
            ProgramError: If it fails, gives no answer or takes longer than *limit_s* seconds.
        """
        try:
            said, complained = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, complained = self.process.communicate()
            complained += f"\nstopped after {limit_s:g} s"
        answer: dict[str, Any] = {}
        for line in said.splitlines():
            if line.startswith("{"):
                answer |= json.loads(line)
        if self.process.returncode or not answer:
            last = "\n".join(complained.strip().splitlines()[-5:])
            raise ProgramError(f"{self.name} gave no answer ({self.process.returncode}): {last}")
        return answer


def environment() -> dict[str, str]:
    """Return the environment of a measured program, without settings of nsqkit."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("NSQKIT_")}
    return {**own, "NODE_PATH": str(_NODE_MODULES), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _ours(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"bench.clients.{module}")


def _theirs(module: str) -> tuple[str, ...]:
    return (str(_PYTHON), "-m", f"bench.clients.{module}")


_PYTHON = INSTALLED / "python" / "bin" / "python"
_GO = INSTALLED / "bench" / "consume-go"
_NSQJS_PACKAGE = _NODE_MODULES / "nsqjs"
_NODE = ("node", str(ROOT / "bench" / "clients" / "consume.js"))
_NSQKIT = _ours("consume_nsqkit")

NSQKIT = Program("nsqkit", "typed decode, async handler", _NSQKIT, can_sleep=True)
_THREADS = Program("nsqkit, threads", "typed decode, plain def in the pool", _NSQKIT, variant="in threads")
_FIXED_RDY = Program("nsqkit, fixed RDY", "as nsqkit, with rdy=fixed", _NSQKIT, variant="fixed RDY")
_BARE = Program("bare asyncio", "typed decode, no framework", _ours("consume_bare"))
_NSQJS = Program("nsqjs", "JSON.parse", _NODE, _NSQJS_PACKAGE, can_sleep=True)
_GO_NSQ = Program("go-nsq", "encoding/json into a struct", (str(_GO),), _GO, can_sleep=True)
_PYNSQ = Program("pynsq", "orjson.loads", _ours("consume_pynsq"), can_sleep=True)
_OTHERS = (
    Program("gnsq", "orjson.loads", _theirs("consume_gnsq"), _PYTHON),
    Program("ansq", "orjson.loads", _theirs("consume_ansq"), _PYTHON),
    Program("asyncnsq", "orjson.loads", _theirs("consume_asyncnsq"), _PYTHON),
)

CONSUMERS = (
    NSQKIT,
    Program("nsqkit, run_on_loop", "typed decode, plain def on the loop", _NSQKIT, variant="on loop"),
    _THREADS,
    Program("nsqkit, max_in_flight 100", "as nsqkit, with its own default", _NSQKIT, max_in_flight=100),
    Program("nsqkit, uvloop", "as nsqkit, on the other event loop", _NSQKIT, variant="on uvloop"),
    _FIXED_RDY,
    _BARE,
    _NSQJS,
    _GO_NSQ,
    Program("go-nsq, 200 goroutines", "AddConcurrentHandlers", (str(_GO),), _GO, variant="concurrent"),
    _PYNSQ,
    *_OTHERS,
)
"""Programs for the throughput."""

EVERYDAY = (NSQKIT, _FIXED_RDY, _THREADS, _BARE, _NSQJS, _GO_NSQ, _PYNSQ, *_OTHERS)
"""Programs for the everyday loads: every client, and nsqkit's ways that differ there."""

_PUBLISH = _ours("publish_nsqkit")
_PYNSQ_PUBLISH = _ours("publish_pynsq")
PUBLISHERS = (
    Program("nsqkit publish_raw", "awaited, 200 under way", _PUBLISH, variant="raw"),
    Program("nsqkit publish", "typed event, awaited, 200 under way", _PUBLISH, variant="typed"),
    Program("nsqkit publish_many", "typed events, 100 in a command", _PUBLISH, variant="many"),
    Program("nsqkit publish_soon", "typed event, batched by nsqkit", _PUBLISH, variant="soon"),
    Program("pynsq Writer.pub", "confirmed, 200 under way", _PYNSQ_PUBLISH),
    Program("pynsq Writer.mpub", "100 in a command", _PYNSQ_PUBLISH, variant="many"),
)
"""Programs for publishing."""

_TRACED = _ours("consume_traced")
TRACED = (
    Program("without traces", "as nsqkit", _NSQKIT),
    Program("traces, off", "no provider is configured", _TRACED, variant="off"),
    Program("traces, 0 %", "a provider that samples no new trace", _TRACED, variant="0"),
    Program("traces, 1 %", "a provider that samples one in a hundred", _TRACED, variant="0.01"),
    Program("traces, 100 %", "a provider that samples all", _TRACED, variant="1"),
)
"""Programs for traces."""

_WATCHED = _ours("consume_watched")
WATCHED = (
    Program("not watched", "one order in twenty fails once", _WATCHED),
    Program(
        "watched",
        "the same, with folded log lines, and scraped four times a second",
        _WATCHED,
        variant="watched",
    ),
)
"""Programs for the cost of being watched."""

HOLDER = Program("nsqkit", "holds messages", _NSQKIT, variant="hold", max_in_flight=2000)
SAMPLED = Program("nsqkit", "is sampled", _NSQKIT, variant="sampled")
STEADY = Program("steady publisher", "a plain socket", _ours("publish_steadily"))


def named(programs: Sequence[Program], names: Sequence[str]) -> list[Program]:
    """Return the programs with the given names; all of them if *names* is empty."""
    return [program for program in programs if not names or program.name in names]

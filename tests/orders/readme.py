"""README: types the commands of the README of the order system, and compares what they show with it."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.orders.running import ROOT, System
from tests.unit.test_docs import commands, is_as_shown
from tests.waiting import PATIENCE_S

FILE: Final = ROOT / "examples" / "orders" / "README.md"
START: Final = re.compile(r"scripts/order-system( --bridges)?$")
BRIDGES: Final = re.compile(r"^## Orders from Kafka, .*?(?=^## )", re.MULTILINE | re.DOTALL)
"""The section that a system with ``--bridges`` follows, and no other does."""
_MANY: Final = "place-orders 200\n200 placed, 176 confirmed, 24 cancelled"
_FEW: Final = "place-orders 20\n20 placed, … confirmed, … cancelled"  # 200 take a minute on a busy machine
_MARK: Final = "@@ next command @@"
_CONSOLE: Final = re.compile(r"^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMES: Final = (
    re.compile(r"(?<=127\.0\.0\.1:)\d+"),
    re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),  # an order
    re.compile(r"\b[0-9a-f]{32}\b"),  # a trace
    re.compile(r"\b[0-9a-f]{16}\b"),  # a span
)
"""What is another one in each run."""

# curl may be missing.
_CURL: Final = """
import argparse, sys, urllib.error, urllib.request
parser = argparse.ArgumentParser()
for flag in ("-s", "-i"):
    parser.add_argument(flag, action="store_true")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-X")
parser.add_argument("-d")
parser.add_argument("url")
given = parser.parse_args()
headers = dict(each.split(": ", 1) for each in given.H)
data = None if given.d is None else given.d.encode()
request = urllib.request.Request("http://" + given.url, data, headers, method=given.X)
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
if given.i:
    print("HTTP/1.1", answer.status, answer.reason)
    for name, value in answer.headers.items():
        if name != "Connection":  # curl keeps it open
            print(f"{name}: {value}")
    print()
sys.stdout.write(answer.read().decode())
"""


class Readme:
    """The README, followed in the folder of a system that has just been started.

    Args:
        system: The system.
        programs: A folder for the programs that a clone has; empty.
    """

    def __init__(self, system: System, programs: Path) -> None:
        self._system = system
        self._programs = programs
        self._here = system.data.parent
        self._names: dict[str, str] = {}  # ports and ids of the README, and those of this run

    def follow(self) -> None:
        """Type every command outside of the section of bridges, and compare what it shows."""
        self._follow(BRIDGES.sub("", FILE.read_text()))

    def follow_bridges(self) -> None:
        """Do the same with the section of bridges."""
        section = BRIDGES.search(FILE.read_text())
        assert section, "the README has the section"
        self._follow(section[0])

    def _follow(self, text: str) -> None:
        self._make_programs()
        for block in _CONSOLE.finditer(text):
            typed = commands(block["text"].replace(_MANY, _FEW))
            is_start = START.search(typed[0].line)
            outputs = [self._system.out] if is_start else self._session([each.line for each in typed])
            for command, real in zip(typed, outputs, strict=True):
                self._learn(command.shown, real)
                shown = self._here_for(command.shown)
                assert is_as_shown(_dated(real), _dated(shown)), (
                    f"$ {command.line}\n{real}\n-- but the README:\n{shown}"
                )

    def _session(self, lines: Sequence[str]) -> list[str]:
        """Type lines into one shell, and return what each shows."""
        typed = [part for line in lines for part in (f"echo '{_MARK}'", self._here_for(line), "echo")]
        done = subprocess.run(
            ["bash", "-c", "\n".join(typed)],
            cwd=self._here,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{self._programs}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE_S,
            check=False,
        )
        return done.stdout.split(f"{_MARK}\n")[1:]

    def _learn(self, shown: str, real: str) -> None:
        """Take in which name of the README stands for which one here: they come in the same order."""
        for kind in _NAMES:
            for name, own in zip(kind.findall(shown), kind.findall(real), strict=False):
                self._names.setdefault(name, own)

    def _here_for(self, text: str) -> str:
        for name, own in self._names.items():
            text = re.sub(rf"(?<![0-9a-f]){name}(?![0-9a-f])", own, text)
        return text

    def _make_programs(self) -> None:
        nsqkit = "import sys; from nsqkit.cli import main; sys.exit(main())"
        here = self._here
        (here / "scripts").mkdir()
        (here / ".venv").mkdir()
        (here / ".venv" / "bin").symlink_to(self._programs)
        url = self._system.address("REST API")
        sources = {
            self._programs / "nsqkit": f"#!/bin/sh\nexec '{sys.executable}' -c '{nsqkit}' \"$@\"\n",
            self._programs / "curl": f"#!{sys.executable}\n{_CURL}",
            here / "scripts" / "place-orders": f"#!/bin/sh\n{self._ports()} exec '{sys.executable}' -m"
            f' examples.orders.place --url {url} "$@"\n',
        }
        for path, source in sources.items():
            path.write_text(source)
            path.chmod(0o755)

    def _ports(self) -> str:
        """Return the variables of the shell with the ports of Kafka and RabbitMQ; empty without them."""
        lines = {"KAFKA_PORT": "Kafka", "AMQP_PORT": "RabbitMQ"}
        named = {variable: line for variable, line in lines.items() if f"\n{line} " in self._system.out}
        ports = {variable: self._system.address(line).rpartition(":")[2] for variable, line in named.items()}
        return " ".join(f"{variable}={port}" for variable, port in ports.items())


def _dated(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)

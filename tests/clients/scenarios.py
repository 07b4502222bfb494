"""What each client is asked to do, as a plan that its program carries out, and how to start the program."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".clients"
CHANNEL = "work"
BROKERS_MSG_TIMEOUT_MS = 1000
ASKED_MSG_TIMEOUT_MS = 1500

FINISH: tuple[object, ...] = ("finish",)
KEEP: tuple[object, ...] = ("keep",)


def requeue(delay_ms: int) -> tuple[object, ...]:
    """Requeue, without the client's own backoff."""
    return ("requeue", delay_ms)


def touch(every_ms: int, times: int) -> tuple[object, ...]:
    """Touch so often, then finish after one more pause."""
    return ("touch", every_ms, times)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to publish, and the reactions to the 1st, 2nd, … delivery of a message; the last one stays.

    Attributes:
        name: Its topics are called after it.
        publish: Bodies; each tuple of one is a PUB, or DPUB, and each of more a MPUB.
        reactions: What to do, by attempts.
        finishes: The program ends after so many messages were finished.
        defer_ms: Above 0 the publishes are DPUBs.
    """

    name: str
    publish: tuple[tuple[str, ...], ...]
    reactions: tuple[tuple[object, ...], ...]
    finishes: int = 1
    defer_ms: int = 0


PUBLISH = Scenario("publish", (("one",), ("two", "three")), (FINISH,), finishes=3)
REQUEUE = Scenario("requeue", (("again",),), (requeue(400), requeue(0), FINISH))
TOUCH = Scenario("touch", (("slow",),), (touch(250, times=6),))
TIMEOUT = Scenario("timeout", (("lost",),), (KEEP, FINISH))
DEFER = Scenario("defer", (("later",),), (FINISH,), defer_ms=400)
SCENARIOS = (PUBLISH, REQUEUE, TOUCH, TIMEOUT, DEFER)


@dataclass(frozen=True, slots=True)
class Client:
    """A client of somebody else's.

    Attributes:
        name: Its own name.
        command: Starts its program; the plan is the one more argument.
        installed: What is there when scripts/install-clients has installed it.
        negotiates: Whether it can ask for a message timeout.
    """

    name: str
    command: tuple[str, ...]
    installed: Path
    negotiates: bool = True

    @property
    def msg_timeout_ms(self) -> int:
        """How long a message may be held on its connection."""
        return ASKED_MSG_TIMEOUT_MS if self.negotiates else BROKERS_MSG_TIMEOUT_MS

    def topic(self, scenario: Scenario) -> str:
        """Return the topic that is this client's in this scenario."""
        return f"{self.name}.{scenario.name}"

    def plan(self, scenario: Scenario, address: str) -> str:
        """Return what the program is told."""
        return json.dumps(
            {
                "address": address,
                "topic": self.topic(scenario),
                "channel": CHANNEL,
                "msg_timeout_ms": self.msg_timeout_ms,
                "publish": scenario.publish,
                "defer_ms": scenario.defer_ms,
                "reactions": scenario.reactions,
                "finishes": scenario.finishes,
            }
        )


def _python(name: str, *, negotiates: bool) -> Client:
    python = INSTALLED / "python" / "bin" / "python"
    return Client(name, (str(python), "-m", f"tests.clients.python.play_{name}"), python, negotiates)


_GO = INSTALLED / "bin" / "clients"

CLIENTS = (
    Client("pynsq", (sys.executable, "-m", "tests.clients.python.play_pynsq"), Path(sys.executable)),
    _python("gnsq", negotiates=False),
    _python("ansq", negotiates=True),
    _python("asyncnsq", negotiates=False),
    Client("go-nsq", (str(_GO),), _GO),
    Client(
        "nsqjs", ("node", str(ROOT / "tests/clients/node/play.js")), INSTALLED / "node/node_modules/nsqjs"
    ),
)

# nsqjs is found by Node where scripts/install-clients puts it, away from the program.
ENVIRONMENT = {**os.environ, "NODE_PATH": str(INSTALLED / "node/node_modules")}

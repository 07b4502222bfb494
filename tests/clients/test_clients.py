"""Clients of other people publish and consume on the embedded broker as they do on a real nsqd."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.clients.conftest import Engine, require
from tests.clients.scenarios import (
    CLIENTS,
    DEFER,
    ENVIRONMENT,
    PUBLISH,
    REQUEUE,
    ROOT,
    SCENARIOS,
    TIMEOUT,
    TOUCH,
    Client,
    Scenario,
)
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.clients


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a program saw of one delivery.

    Attributes:
        since_ms: Time since just before the program's last PUB, DPUB or REQ.
    """

    body: str
    attempts: int
    since_ms: float


Play = Callable[[Scenario], list[Delivery]]


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """A client, if it is installed."""
    found: Client = request.param
    require(found.installed)
    return found


@pytest.fixture(scope="module")
def play(engine: Engine, client: Client) -> Iterator[Play]:
    """What a client saw in a scenario. All its scenarios run at once, each in a process of its own."""
    with ExitStack() as stack:
        running: dict[Scenario, subprocess.Popen[str]] = {}
        for scenario in SCENARIOS:
            running[scenario] = stack.enter_context(
                subprocess.Popen(
                    [*client.command, client.plan(scenario, engine.tcp_address)],
                    cwd=ROOT,
                    env=ENVIRONMENT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(running[scenario].kill)

        def seen(scenario: Scenario) -> list[Delivery]:
            process = running[scenario]
            try:
                output, errors = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                output, errors = process.communicate()
            assert process.returncode == 0, f"it ended with {process.returncode}\n{output}\n{errors}"
            return [Delivery(**json.loads(line)) for line in output.splitlines()]

        yield seen


def test_each_published_message_is_delivered_and_finished_once(
    engine: Engine, client: Client, play: Play
) -> None:
    """By PUB and by MPUB, each confirmed."""
    seen = play(PUBLISH)
    assert sorted((each.body, each.attempts) for each in seen) == [("one", 1), ("three", 1), ("two", 1)]
    stats = engine.settled(client.topic(PUBLISH), messages=3)
    assert (stats["requeue_count"], stats["timeout_count"]) == (0, 0)


def test_a_requeued_message_comes_after_its_delay_with_one_more_attempt(
    engine: Engine, client: Client, play: Play
) -> None:
    seen = play(REQUEUE)
    assert [(each.body, each.attempts) for each in seen] == [("again", 1), ("again", 2), ("again", 3)]
    assert seen[1].since_ms >= 400
    stats = engine.settled(client.topic(REQUEUE), messages=1)
    assert (stats["requeue_count"], stats["timeout_count"]) == (2, 0)


def test_a_touched_message_is_kept_beyond_its_timeout(engine: Engine, client: Client, play: Play) -> None:
    seen = play(TOUCH)
    assert [(each.body, each.attempts) for each in seen] == [("slow", 1)]
    stats = engine.settled(client.topic(TOUCH), messages=1)
    assert (stats["requeue_count"], stats["timeout_count"]) == (0, 0)


def test_a_message_that_is_not_answered_comes_again_after_its_timeout(
    engine: Engine, client: Client, play: Play
) -> None:
    """After the timeout that the client asked for, or else the broker's."""
    seen = play(TIMEOUT)
    assert [(each.body, each.attempts) for each in seen] == [("lost", 1), ("lost", 2)]
    assert seen[1].since_ms >= client.msg_timeout_ms
    stats = engine.settled(client.topic(TIMEOUT), messages=1)
    assert (stats["requeue_count"], stats["timeout_count"]) == (0, 1)


def test_a_deferred_message_is_not_early(engine: Engine, client: Client, play: Play) -> None:
    seen = play(DEFER)
    assert [(each.body, each.attempts) for each in seen] == [("later", 1)]
    assert seen[0].since_ms >= 400
    stats = engine.settled(client.topic(DEFER), messages=1)
    assert (stats["requeue_count"], stats["timeout_count"]) == (0, 0)

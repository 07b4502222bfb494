"""Hangs of one handler's subscriptions: only a silent one whose nsqd answers, at two polls in a row."""

from typing import Any

import pytest

from nsqkit.nsq.discovery import Source
from nsqkit.policy.hang import HUNG_S
from nsqkit.worker.hangs import Hangs
from tests.unit.runtime.bench import RecordingLog

A, B = Source("a:4150", "orders"), Source("b:4150", "orders")
HTTP = {"a:4150": "a:4151", "b:4150": "b:4151"}
LINE = "the subscription to orders at nsqd a:4150 hangs, although the nsqd answers"


class Desk:
    """A handler's subscriptions, with a clock and signs that the test sets."""

    def __init__(self) -> None:
        self.now_s = 10_000.0
        self.signs = {A: self.now_s, B: self.now_s}
        self.log = RecordingLog()
        consumer: Any = self
        self.hangs = Hangs(consumer, self.log, now_s=lambda: self.now_s)

    def signs_s(self) -> dict[Source, float]:
        return self.signs

    def http_address(self, address: str) -> str | None:
        return HTTP.get(address)

    def faults(self) -> tuple[str, ...]:
        return self.hangs.faults

    def poll(self, *answered: str, after_s: float = 60.0, heard: tuple[Source, ...] = (B,)) -> None:
        self.now_s += after_s
        for source in heard:
            self.signs[source] = self.now_s
        self.hangs.polled(answered)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_silent_subscription_whose_nsqd_answers_hangs(desk: Desk) -> None:
    for _ in range(int(HUNG_S / 60)):
        desk.poll("a:4151", "b:4151")
    assert desk.faults() == ()
    for _ in range(3):
        desk.poll("a:4151", "b:4151")
    assert desk.faults() == (LINE,)
    ((level, event, fields),) = desk.log.lines
    assert (level, event) == ("error", "subscription_hangs")
    expected = {"nsqd": "a:4150", "topic": "orders", "silent_s": HUNG_S + 60}
    assert {name: fields[name] for name in expected} == expected


def test_it_is_over_at_the_next_sign_of_life(desk: Desk) -> None:
    for _ in range(2):
        desk.poll("a:4151", after_s=HUNG_S)
    assert desk.faults() == (LINE,)
    desk.signs[A] = desk.now_s
    assert desk.faults() == ()
    desk.signs.pop(A)
    assert desk.faults() == ()


@pytest.mark.parametrize(
    "answered",
    [pytest.param((), id="all nsqd are down"), pytest.param(("b:4151",), id="it is down, and another is up")],
)
def test_an_nsqd_that_is_down_is_no_hang_however_long(desk: Desk, answered: tuple[str, ...]) -> None:
    for _ in range(100):
        desk.poll(*answered, after_s=HUNG_S)
    assert (desk.faults(), desk.log.lines) == ((), [])


def test_an_nsqd_whose_http_port_is_not_known_is_no_hang(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HTTP, "a:4150")
    for _ in range(100):
        desk.poll("a:4151", "b:4151", after_s=HUNG_S)
    assert desk.faults() == ()


def test_a_suspended_process_does_not_hang_when_it_goes_on(desk: Desk) -> None:
    """Its timers may run before it reads what has arrived."""
    desk.poll("a:4151", "b:4151", heard=(A, B))
    desk.poll("a:4151", "b:4151", after_s=86_400.0, heard=())
    assert desk.faults() == ()
    desk.poll("a:4151", "b:4151", heard=(A, B))
    assert desk.faults() == ()


def test_attempts_that_fail_are_signs_of_life(desk: Desk) -> None:
    for _ in range(100):
        desk.poll("a:4151", "b:4151", after_s=HUNG_S, heard=(A, B))
    assert desk.faults() == ()


def test_an_nsqd_is_asked_once_its_subscription_is_silent(desk: Desk) -> None:
    assert desk.hangs.http_addresses == frozenset()
    desk.now_s += HUNG_S
    assert desk.hangs.http_addresses == {"a:4151", "b:4151"}

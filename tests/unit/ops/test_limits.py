"""Limits: where handlers ask for more than their nsqd allow."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import Context, Exponential, Handler, Requeue, RetryPolicy, Settings, event
from nsqkit.devbroker import DevBroker
from nsqkit.ops.limits import check_limits
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.nsq.fake_nsqd import FakeNsqd

NOBODY = "127.0.0.1:1"


@event("limits.happened", version=1, topic="limits")
@dataclass
class Happened:
    n: int


class Work(Handler[Happened], abstract=True):
    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


class Modest(Work, channel="modest", timeout_s=55):
    pass


class Slow(Work, channel="slow", timeout_s=120):
    pass


class Patient(Work, channel="patient", retry=RetryPolicy(backoff=Exponential(base_s=900, max_s=900))):
    pass


class Ruled(Work, channel="ruled", retry=RetryPolicy(on={KeyError: Requeue(900)})):
    pass


async def checked(*handlers: type[Work], hour_ns: int = 3_600_000_000_000, **granted: Any) -> tuple[str, ...]:
    """Return what is said of handlers on an nsqd that grants this."""
    specs = [handler.spec for handler in handlers]
    async with FakeNsqd() as nsqd, FakeHttp((200, hour_ns)) as http:
        settings = Settings(nsqd=(nsqd.address,), nsqd_http=(http.address,), connect_timeout_s=1.0)
        checking = asyncio.create_task(asyncio.to_thread(check_limits, specs, settings))
        peer = await nsqd.accept()
        await peer.shake_hands(**granted)
        return await checking


async def test_what_nsqd_allows_is_no_problem() -> None:
    assert await checked(Modest, Slow, Patient, Ruled) == ()


async def test_a_handler_slower_than_nsqd_allows_is_named_with_its_place_and_nsqds_option() -> None:
    (problem,) = await checked(Modest, Slow, max_msg_timeout=60_000)
    assert problem.startswith(f"{Slow.spec.location}: Slow: may take 120 s (its timeout_s); nsqd 127.0.0.1:")
    assert problem.endswith("allows 60 s (its --max-msg-timeout)")


async def test_a_message_timeout_longer_than_nsqd_allows_is_named_once() -> None:
    """Nsqd refuses every connection then, with E_BAD_BODY."""
    (problem,) = await checked(Modest, Ruled, max_msg_timeout=59_000)
    assert problem.startswith("the setting msg_timeout_s=60 is too long; nsqd 127.0.0.1:")
    assert problem.endswith("allows 59 s (its --max-msg-timeout)")


@pytest.mark.parametrize("handler", [Patient, Ruled])
async def test_a_delay_longer_than_nsqd_takes_is_named_with_nsqds_option(handler: type[Work]) -> None:
    (problem,) = await checked(Modest, handler, hour_ns=890 * 10**9)
    assert f"{handler.__name__}: waits up to 900 s; nsqd 127.0.0.1:" in problem
    assert problem.endswith("s (its --max-req-timeout)")


def test_an_nsqd_that_is_not_reached_is_named_alone() -> None:
    (problem,) = check_limits([Modest.spec], Settings(nsqd=(NOBODY,), connect_timeout_s=1.0))
    assert NOBODY in problem
    assert "nsqd-http" not in problem


def test_an_http_port_that_does_not_answer_is_named_with_its_flag(threaded_broker: DevBroker) -> None:
    settings = Settings(nsqd=(threaded_broker.tcp_address,), nsqd_http=(NOBODY,), connect_timeout_s=1.0)
    (problem,) = check_limits([Modest.spec], settings)
    assert NOBODY in problem
    assert "--nsqd-http" in problem


def test_the_embedded_broker_allows_what_the_defaults_ask_for(threaded_broker: DevBroker) -> None:
    settings = Settings(nsqd=(threaded_broker.tcp_address,), nsqd_http=(threaded_broker.http_address,))
    assert check_limits([Modest.spec, Slow.spec, Patient.spec], settings) == ()

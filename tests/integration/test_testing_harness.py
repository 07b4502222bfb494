"""The harness gives the same answers on the ledger and on a real nsqd."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nsqkit import Context, Handler, Outcome, Requeue, RetryPolicy, Settings, event
from nsqkit.nsq.http import fetch
from nsqkit.testing import Harness, HarnessError, NeedsVirtualTimeError, nsqd_broker
from nsqkit.testing.nsqd_process import nsqd_program

PROGRAM = "nsqd"


@event("harness.followed", version=1, topic="followed")
@dataclass(frozen=True)
class Followed:
    n: int


@event("harness.quick", version=1, topic="quick")
@dataclass
class Quick:
    n: int = 0


class Retries(Handler[Quick], channel="retries", timeout_s=0.2, retry=RetryPolicy(max_attempts=3)):
    async def handle(self, event: Quick, ctx: Context) -> Outcome | None:
        if event.n == ctx.attempts:
            await asyncio.Event().wait()
        if ctx.attempts < 3:
            return Requeue(0.05 * ctx.attempts)
        ctx.publish(Followed(event.n))
        return None


class See(Handler[Followed], channel="see"):
    def handle(self, event: Followed, ctx: Context) -> None:
        pass


class Later(Handler[Quick], channel="later"):
    async def handle(self, event: Quick, ctx: Context) -> Outcome | None:
        return Requeue(600)


class Hangs(Handler[Quick], channel="hangs"):
    async def handle(self, event: Quick, ctx: Context) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("broker", ["ledger", pytest.param("nsqd", marks=pytest.mark.nsqd)])
class TestBothBrokers:
    """The same test on the ledger and on a real nsqd."""

    @pytest.fixture(autouse=True)
    def found_where_it_is_built(
        self, broker: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if broker == "nsqd":
            monkeypatch.setenv("NSQKIT_NSQD_BIN", str(request.getfixturevalue("nsq_programs")))

    async def test_delays_timeouts_and_following_events_are_alike(self, broker: Any) -> None:
        async with Harness([Retries, See], broker=broker) as h:
            await h.publish(Quick(1))
            await h.publish(Quick(9))
            await h.publish_raw("quick", b"[]")
            await h.settle(through_delays=True)
            h.requeued(Quick(1), reason="timeout", delay_s=1).once()
            assert [each.delay_s for each in h.requeued(Quick(9), reason="requested")] == [0.05, 0.1]
            h.handled(Quick, by=Retries).times(2)
            h.handled(Followed, by=See).times(2)
            h.dead_lettered(reason="undecodable").once()

    async def test_settling_waits_for_no_delay(self, broker: Any) -> None:
        async with Harness([Later], broker=broker) as h:
            await h.publish(Quick())
            await h.settle()
            h.requeued(Quick, delay_s=600).once()

    async def test_time_that_was_asked_for_passes(self, broker: Any) -> None:
        async with Harness([See], broker=broker) as h:
            await h.publish(Followed(1), defer_s=2.0)
            await h.settle()
            h.handled().never()
            h.clock.advance(3.0)
            await h.settle()
            h.handled().once()

    async def test_what_is_not_confirmed_is_published_again(self, broker: Any) -> None:
        async with Harness([Retries, See], broker=broker) as h:
            h.fail_publish(topic="quick.retries.dead")
            await h.publish_raw("quick", b"[]")
            await h.settle()
            h.requeued(reason="dead_letter_failed", delay_s=1).once()
            await h.settle(through_delays=True)
            h.dead_lettered().once()

    async def test_many_messages_settle(self, broker: Any) -> None:
        async with Harness([See], broker=broker) as h:
            for n in range(500):
                await h.publish(Followed(n))
            await h.settle()
            h.handled(Followed).times(500)


async def tell(h: Any, path: str) -> None:
    """Tell nsqd something about the channel of See."""
    address = h._broker._http.address
    await fetch(address, path, method="POST", timeout_s=2.0, topic="followed", channel="see")


@pytest.mark.nsqd
class TestRealTime:
    """What would take too long is refused, and the plugin makes a skip of that."""

    @pytest.fixture(autouse=True)
    def found_where_it_is_built(self, nsq_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NSQKIT_NSQD_BIN", str(nsq_programs))

    async def test_a_long_delay(self) -> None:
        async with Harness([Later], broker="nsqd") as h:
            await h.publish(Quick())
            with pytest.raises(NeedsVirtualTimeError, match="a message is requeued for 600 s"):
                await h.settle(through_delays=True)

    async def test_a_handler_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nsqd_broker, "MAX_WAIT_S", 0.2)
        async with Harness([Hangs], settings=Settings(grace_s=0), broker="nsqd") as h:
            await h.publish(Quick())
            with pytest.raises(NeedsVirtualTimeError, match=r"nothing has happened for 0\.2 s"):
                await h.settle()

    async def test_a_message_that_nsqd_keeps_is_a_failure_and_no_skip(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nsqd_broker, "MAX_WAIT_S", 0.2)
        async with Harness([See], broker="nsqd") as h:
            await tell(h, "/channel/pause")
            await h.publish(Followed(1))
            with pytest.raises(HarnessError, match=r"nsqd has delivered nothing for 0\.2 s"):
                await h.settle()
            await tell(h, "/channel/unpause")
            await h.settle()
            h.handled(Followed(1)).once()

    async def test_a_lease(self) -> None:
        async with Harness([See], broker="nsqd") as h:
            with pytest.raises(NeedsVirtualTimeError, match="a lease has to end"):
                h.drop_connection()

    async def test_nothing_is_left_of_a_nsqd(self) -> None:
        async with Harness([See], broker="nsqd") as h:
            host, _, port = h._broker.address.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))


class TestProgram:
    def test_the_folder_that_is_named_counts_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NSQKIT_NSQD_BIN", str(tmp_path))
        with pytest.raises(HarnessError, match=rf"nsqd is not in {tmp_path}"):
            nsqd_program()

    @pytest.mark.parametrize("places", [(".nsqd/bin",), ("path",), ("path", ".nsqd/bin")])
    def test_else_the_one_that_was_built_comes_before_the_one_on_the_path(
        self, places: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in places:
            program = tmp_path / place / PROGRAM
            program.parent.mkdir(parents=True)
            program.touch(mode=0o755)
        monkeypatch.delenv("NSQKIT_NSQD_BIN", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path / "path"))
        monkeypatch.chdir(tmp_path)
        assert nsqd_program() == str(tmp_path / places[-1] / PROGRAM)

    async def test_a_program_that_does_not_start_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / PROGRAM
        program.write_text("#!/bin/sh\necho no room >&2\n")
        program.chmod(0o755)
        monkeypatch.setenv("NSQKIT_NSQD_BIN", str(tmp_path))
        with pytest.raises(HarnessError, match="did not start: no room"):
            async with Harness([See], broker="nsqd"):
                pytest.fail("entered")

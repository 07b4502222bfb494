"""BlockingPublisher: what returns was confirmed, what raises says why, without an event loop."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nsqkit import BlockingPublisher, EncodeError, PublishError, SettingsError
from nsqkit.devbroker import DevBroker
from tests.unit.publishing.sent import NOBODY, Homeless, Sent, told
from tests.unit.reading import topics_of
from tests.waiting import PATIENCE_S

NO_FORK_WARNING = ("-W", "ignore:This process:DeprecationWarning")  # of Python 3.12: it has threads
FORKED = """
import asyncio, os, sys
from nsqkit import BlockingPublisher, Publisher, Settings

def in_child(work):
    pid = os.fork()
    if not pid:
        work()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0

publisher = BlockingPublisher(sys.argv[1], settings=Settings())
publish = lambda: publisher.publish_raw("blocking", b"body")
in_child(publish)  # the parent has not published yet
publish()
in_child(lambda: (publish(), publish(), publisher.close()))
in_child(publisher.close)
with publisher._lock:  # another thread may hold it during the fork
    in_child(publish)
publish()
publisher.close()

shared = Publisher(sys.argv[1], settings=Settings())

async def child():
    async with shared:
        await shared.publish_raw("async", b"body")

def fork():
    pid = os.fork()
    if not pid:
        asyncio.run(child())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

async def parent():
    publish = lambda: shared.publish_raw("async", b"body")
    await publish()
    under_way = asyncio.create_task(publish())
    await asyncio.sleep(0)  # one turn, in which the publish begins
    await asyncio.to_thread(fork)
    await under_way
    await publish()
    await shared.close()

asyncio.run(parent())
"""


class TestBlockingPublisher:
    """The publisher for programs without a loop."""

    def test_what_returns_is_in_nsqd(self, threaded_broker: DevBroker) -> None:
        with BlockingPublisher(threaded_broker.tcp_address, source="web", settings=told()) as publisher:
            publisher.publish(Sent(1))
            publisher.publish_many([Sent(2), Sent(3)])
            publisher.publish_raw("sent", b"raw")
            publisher.publish(Sent(4), topic="elsewhere")
            found = topics_of(threaded_broker.http_address)
        assert (found["sent"]["message_count"], found["elsewhere"]["message_count"]) == (4, 1)

    def test_threads_may_share_it(self, threaded_broker: DevBroker) -> None:
        with BlockingPublisher(threaded_broker.tcp_address, settings=told()) as publisher:

            def work() -> None:
                for n in range(20):
                    publisher.publish(Sent(n))

            threads = [threading.Thread(target=work) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert topics_of(threaded_broker.http_address)["sent"]["message_count"] == 100

    @pytest.mark.parametrize(
        ("publish", "error"),
        [
            pytest.param(lambda each: each.publish(Homeless(1)), EncodeError, id="what cannot be encoded"),
            pytest.param(lambda each: each.publish(Sent(1)), PublishError, id="what is not confirmed"),
        ],
    )
    def test_errors_reach_the_caller(
        self, publish: Callable[[BlockingPublisher], None], error: type[Exception]
    ) -> None:
        with BlockingPublisher(NOBODY, settings=told()) as publisher, pytest.raises(error):
            publish(publisher)

    def test_closing_twice_does_nothing_and_its_thread_is_gone(self) -> None:
        publisher = BlockingPublisher(NOBODY, settings=told())
        with pytest.raises(PublishError):
            publisher.publish(Sent(1))
        assert publisher._thread.is_alive()
        publisher.close()
        publisher.close()
        assert not publisher._thread.is_alive()

    def test_its_thread_starts_with_the_first_publish_so_that_a_server_may_fork_before(self) -> None:
        before = threading.active_count()
        publisher = BlockingPublisher(NOBODY, settings=told())
        assert threading.active_count() == before
        publisher.close()

    def test_a_wrong_address_leaves_no_thread_behind(self) -> None:
        before = threading.active_count()
        with pytest.raises(SettingsError):
            BlockingPublisher("nsqd", settings=told())
        assert threading.active_count() == before

    def test_publishing_after_close_is_an_error_and_hangs_nobody(self, threaded_broker: DevBroker) -> None:
        publisher = BlockingPublisher(threaded_broker.tcp_address, settings=told())
        publisher.close()
        with pytest.raises(RuntimeError, match="the publisher is closed"):
            publisher.publish(Sent(1))


def test_after_a_fork_both_processes_publish_on_separate_connections(threaded_broker: DevBroker) -> None:
    """The thread of the loop does not exist in the child, so that a publish there would wait for ever."""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", *NO_FORK_WARNING, "-c", FORKED, threaded_broker.tcp_address],
        timeout=PATIENCE_S,
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found = topics_of(threaded_broker.http_address)
    assert (found["blocking"]["message_count"], found["async"]["message_count"]) == (6, 4)

"""BlockingPublisher: what returns was confirmed, what raises says why, without an event loop."""

import threading
from collections.abc import Callable

import pytest

from nsqkit import BlockingPublisher, EncodeError, PublishError, SettingsError
from nsqkit.devbroker import DevBroker
from tests.unit.publishing.sent import NOBODY, Homeless, Sent, told
from tests.unit.reading import topics_of


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
        assert publisher._thread.is_alive()
        publisher.close()
        publisher.close()
        assert not publisher._thread.is_alive()

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

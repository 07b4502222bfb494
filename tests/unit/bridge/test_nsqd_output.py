"""Messages of a route go to any nsqd that takes them; one that is too large is named, the others pass."""

from collections.abc import AsyncIterator

import pytest

from nsqkit.bridge.nsqd_output import NsqdOutput
from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.limits import Limits
from nsqkit.errors import LookupFailedError, PublishError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.depth_limit import depth_in
from nsqkit.settings.settings import Settings
from tests.ports import free_port

LIMIT = 1_048_576


@pytest.fixture
async def publishers() -> AsyncIterator[PublisherPool]:
    pool = PublisherPool(connection_options(Settings()))
    yield pool
    await pool.close()


async def _depth(broker: DevBroker, topic: str) -> int:
    return await NsqdHttp(broker.http_address).read_stats(lambda stats: depth_in(stats, topic), topic)


async def test_the_next_nsqd_is_used_if_one_is_away(broker: DevBroker, publishers: PublisherPool) -> None:
    """It stays the first one for the next messages."""
    settings = Settings(nsqd=(f"127.0.0.1:{free_port()}", broker.tcp_address))
    output = NsqdOutput("output_away", settings, publishers)
    assert await output.publish([b"1", b"2"]) == {}
    assert await output.publish([b"3"]) == {}
    assert await _depth(broker, "output_away") == 3


async def test_nsqlookupd_names_the_nsqd(
    broker: DevBroker, publishers: PublisherPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again when none of those that it named took a message."""
    answers = [(), (f"127.0.0.1:{free_port()}",), (broker.tcp_address,)]

    async def tcp_addresses(settings: Settings) -> tuple[str, ...]:
        return answers.pop(0)

    monkeypatch.setattr("nsqkit.bridge.nsqd_output.tcp_addresses", tcp_addresses)
    output = NsqdOutput("output_looked_up", Settings(lookupd=("lookup.example:4161",)), publishers)
    with pytest.raises(LookupFailedError, match="knows no nsqd"):
        await output.publish([b"1"])
    with pytest.raises(PublishError):
        await output.publish([b"1"])
    assert await output.publish([b"1"]) == {}
    assert await _depth(broker, "output_looked_up") == 1


async def test_only_what_is_too_large_is_refused(broker: DevBroker, publishers: PublisherPool) -> None:
    output = NsqdOutput("output_large", Settings(nsqd=(broker.tcp_address,)), publishers)
    refused = await output.publish([b"1", b"x" * (LIMIT + 1), b"2", b"x" * LIMIT])
    assert [*refused] == [1]
    assert "too big" in refused[1]
    assert await output.publish([b"x" * (LIMIT + 1)]) == {0: refused[1]}
    assert await _depth(broker, "output_large") == 3


async def test_a_lower_limit_of_nsqd_is_learnt(publishers: PublisherPool) -> None:
    """The whole command is refused then, so its messages are published one by one."""
    low = DevBroker(tcp_port=0, http_port=0, limits=Limits(max_msg_bytes=100))
    await low.start()
    output = NsqdOutput("output_low", Settings(nsqd=(low.tcp_address,)), publishers)
    assert [*await output.publish([b"1", b"x" * 101, b"2"])] == [1]
    assert await _depth(low, "output_low") == 2
    await low.stop()


async def test_a_refusal_for_another_reason_is_an_error(broker: DevBroker, publishers: PublisherPool) -> None:
    output = NsqdOutput("not a topic", Settings(nsqd=(broker.tcp_address,)), publishers)
    for bodies in ([b"1", b"2"], [b"x" * (LIMIT + 1)]):
        with pytest.raises(PublishError) as caught:
            await output.publish(bodies)
        assert caught.value.permanent

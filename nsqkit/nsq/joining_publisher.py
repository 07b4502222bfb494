"""JoiningPublisher: what a worker publishes in one turn of the event loop leaves in one command per topic."""

from collections.abc import Sequence
from functools import partial

from nsqkit.nsq.publish_batcher import MAX_BYTES, Groups, PublishBatcher
from nsqkit.nsq.publisher_pool import PublisherPool


class JoiningPublisher:
    """Publishes by a pool, and joins the publishes of one turn to the same nsqd and topic (ADR 0048).

    A deferred or large publish goes alone, and so does one that nsqd may refuse.

    Args:
        pool: Publishes to each nsqd.
    """

    def __init__(self, pool: PublisherPool) -> None:
        self._pool = pool
        self._batchers: dict[str, PublishBatcher] = {}
        self.ensure_channel = pool.ensure_channel

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message to the nsqd at *address*, and wait for its OK.

        Raises:
            PublishError: If nsqd does not confirm it.
        """
        if defer_s:  # NSQ has no deferred MPUB
            await self._pool.publish(address, topic, body, defer_s=defer_s)
        else:
            await self.publish_many(address, topic, (body,))

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages and wait for nsqd's OK; in one command, all or none, if they fit into one.

        Raises:
            PublishError: If nsqd does not confirm them.
        """
        is_large = sum(map(len, bodies)) >= MAX_BYTES
        if is_large or self._pool.may_refuse(address, topic, bodies):
            await self._send(address, topic, [bodies])
            return
        if address not in self._batchers:
            self._batchers[address] = PublishBatcher(partial(self._send, address), wait_s=0.0)
        await self._batchers[address].add(topic, bodies)

    async def _send(self, address: str, topic: str, groups: Groups) -> None:
        bodies = [body for group in groups for body in group]
        if len(bodies) == 1:
            await self._pool.publish(address, topic, bodies[0])
        elif len(groups) == 1:
            await self._pool.publish_many(address, topic, bodies)
        else:  # a split could part what belongs together
            await self._pool.publish_together(address, topic, bodies)

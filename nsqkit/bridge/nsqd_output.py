"""nsqd output: publishes the messages of a route, and awaits nsqd's OK. It tries each nsqd once."""

from collections.abc import Sequence
from typing import Final

from nsqkit.errors import LookupFailedError, PublishError, RefusedError
from nsqkit.nsq.nodes import tcp_addresses
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.settings.settings import Settings

_SIZE_CODES: Final = frozenset({"E_BAD_MESSAGE", "E_BAD_BODY"})


class NsqdOutput:
    """Publishes to one topic of the nsqd in the settings or known to nsqlookupd.

    One nsqd is used until it fails, then the next.

    Args:
        topic: The topic.
        settings: Settings that name nsqd or nsqlookupd.
        publishers: The connections to nsqd.
    """

    def __init__(self, topic: str, settings: Settings, publishers: PublisherPool) -> None:
        self._topic = topic
        self._settings = settings
        self._publishers = publishers
        self._addresses = list(settings.nsqd)

    async def publish(self, bodies: Sequence[bytes]) -> dict[int, str]:
        """Publish n messages, and return those that an nsqd refuses for their size.

        Args:
            bodies: n bodies of 1 byte or more.

        Returns:
            nsqd's reason by the index of the body; nsqd has confirmed all others.

        Raises:
            PublishError: If no nsqd confirmed them; some may have arrived.
            LookupFailedError: If nsqlookupd names no nsqd.
        """
        if not self._addresses:
            self._addresses = list(await tcp_addresses(self._settings))
        if not self._addresses:
            raise LookupFailedError(
                " and ".join(self._settings.lookupd), "nsqlookupd knows no nsqd to publish to"
            )
        last: PublishError | None = None
        for address in tuple(self._addresses):
            try:
                return await self._publish_to(address, bodies)
            except PublishError as error:
                if error.permanent:
                    raise
                last = error
                self._addresses.append(self._addresses.pop(0))
        if self._settings.lookupd:
            self._addresses.clear()  # others may be known by now
        if last is None:
            raise RuntimeError("there is an nsqd to publish to")
        raise last

    async def _publish_to(self, address: str, bodies: Sequence[bytes]) -> dict[int, str]:
        """Publish to one nsqd: alone what it may refuse, and the others together."""
        alone = [
            i for i, body in enumerate(bodies) if self._publishers.may_refuse(address, self._topic, [body])
        ]
        refused = await self._one_by_one(address, bodies, alone)
        together = [i for i in range(len(bodies)) if i not in set(alone)]
        if not together:
            return refused
        try:
            await self._publishers.publish_many(address, self._topic, [bodies[i] for i in together])
        except PublishError as error:
            if not _is_for_size(error):
                raise
            refused |= await self._one_by_one(address, bodies, together)
        return refused

    async def _one_by_one(
        self, address: str, bodies: Sequence[bytes], indexes: Sequence[int]
    ) -> dict[int, str]:
        refused = {}
        for index in indexes:
            try:
                await self._publishers.publish(address, self._topic, bodies[index])
            except PublishError as error:
                if not _is_for_size(error):
                    raise
                refused[index] = error.reason
        return refused


def _is_for_size(error: PublishError) -> bool:
    cause = error.__cause__
    return error.permanent and isinstance(cause, RefusedError) and cause.code in _SIZE_CODES

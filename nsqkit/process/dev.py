"""Dev: the NSQ of ``--dev``, an embedded broker and the collection of its dead letters."""

from dataclasses import replace
from typing import Any

from nsqkit.dead_letters.dev import DevCollection
from nsqkit.devbroker import DevBroker
from nsqkit.errors import SettingsError
from nsqkit.nsq.tls import PLAIN
from nsqkit.settings.settings import Settings


class DevNsq:
    """The NSQ of ``--dev``: the embedded broker, and what collects its dead letters.

    Args:
        broker: The running embedded broker.
        collection: Collects the broker's dead letters into a store.
    """

    def __init__(self, broker: DevBroker, collection: DevCollection) -> None:
        self._broker = broker
        self._collection = collection

    async def stop(self) -> None:
        """Collect what is left, then stop the broker."""
        try:
            await self._collection.stop()
        finally:
            await self._broker.stop()


async def start_broker(settings: Settings) -> tuple[DevNsq, Settings]:
    """Start the embedded broker of ``--dev``, and collect its dead letters.

    Returns:
        Both of them, and the settings with it as the only nsqd.

    Raises:
        SettingsError: If one of its ports cannot be had.
    """
    broker = DevBroker(tcp_port=settings.dev_tcp_port, http_port=settings.dev_http_port)
    try:
        await broker.start()
    except SettingsError as error:
        raise SettingsError(f"--dev: {error}: --set dev_tcp_port=0 --set dev_http_port=0") from error
    nsqd, http = (broker.tcp_address,), (broker.http_address,)
    own: dict[str, Any] = {"nsqd": nsqd, "nsqd_http": http, "lookupd": (), **PLAIN}
    told = replace(settings, **own, sources={**settings.sources, **dict.fromkeys(own, "--dev")})
    collection = DevCollection(told)
    collection.start()
    return DevNsq(broker, collection), told

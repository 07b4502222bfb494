"""The NSQ of ``--dev``: starts the embedded broker and the collector of its dead letters."""

from dataclasses import replace
from typing import Any

from nsqkit.dead_letters.dev_collector import DevCollector
from nsqkit.devbroker import DevBroker
from nsqkit.errors import SettingsError
from nsqkit.nsq.tls import PLAIN
from nsqkit.settings.settings import Settings


class DevNsq:
    """The embedded broker of ``--dev`` and the collector of its dead letters.

    Args:
        broker: The running embedded broker.
        collector: The running collector.
    """

    def __init__(self, broker: DevBroker, collector: DevCollector) -> None:
        self._broker = broker
        self._collector = collector

    async def stop(self) -> None:
        """Collect the remaining dead letters, then stop the broker."""
        try:
            await self._collector.stop()
        finally:
            await self._broker.stop()


async def start_broker(settings: Settings) -> tuple[DevNsq, Settings]:
    """Start the embedded broker of ``--dev`` and the collector of its dead letters.

    Returns:
        Both of them, and settings that name the broker as the only nsqd.

    Raises:
        SettingsError: If the broker cannot listen on one of its ports.
    """
    broker = DevBroker(tcp_port=settings.dev_tcp_port, http_port=settings.dev_http_port)
    try:
        await broker.start()
    except SettingsError as error:
        raise SettingsError(f"--dev: {error}: --set dev_tcp_port=0 --set dev_http_port=0") from error
    nsqd, http = (broker.tcp_address,), (broker.http_address,)
    own: dict[str, Any] = {"nsqd": nsqd, "nsqd_http": http, "lookupd": (), **PLAIN}
    changed = replace(settings, **own, sources={**settings.sources, **dict.fromkeys(own, "--dev")})
    collector = DevCollector(changed)
    collector.start()
    return DevNsq(broker, collector), changed

"""`nsqkit broker`: runs the embedded broker in a process of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsqkit.cli import ending, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from nsqkit.devbroker import DevBroker, DevLookupd
    from nsqkit.settings.settings import Settings


def _port(purpose: str) -> Any:
    return typer.Option(metavar="PORT", min=0, max=65535, help=f"{purpose}; 0 for a free one.")


@options.with_settings(options.LOGGING)
def broker(
    *,
    tcp_port: Annotated[int, _port("Port for clients")] = 4150,
    http_port: Annotated[int, _port("Port for HTTP")] = 4151,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    broadcast_address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address registered at nsqlookupd. [default: --host]")
    ] = "",
    data_path: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", exists=True, file_okay=False, help="Keep messages here over a clean restart."
        ),
    ] = None,
    lookupd_tcp_address: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="An nsqlookupd to register with; may be repeated."),
    ] = None,
    lookupd: Annotated[
        bool, typer.Option("--lookupd", help="Run an embedded nsqlookupd too, and register with it.")
    ] = False,
    lookupd_tcp_port: Annotated[int, _port("Port of the embedded nsqlookupd for nsqd")] = 4160,
    lookupd_http_port: Annotated[int, _port("Port of the embedded nsqlookupd for HTTP")] = 4161,
    settings: "Settings",
) -> int:
    """Run the embedded broker. For development and tests: messages are in memory until it stops."""
    import asyncio
    from functools import partial

    from nsqkit.devbroker import DevBroker, DevLookupd
    from nsqkit.telemetry import logs

    make_broker = partial(
        DevBroker,
        tcp_port=tcp_port,
        http_port=http_port,
        host=host,
        broadcast_address=broadcast_address,
        data_path=data_path,
    )
    make_lookupd = partial(
        DevLookupd,
        tcp_port=lookupd_tcp_port,
        http_port=lookupd_http_port,
        host=host,
        broadcast_address=broadcast_address,
    )
    logs.configure_logs(settings)
    asyncio.run(_serve(make_broker, make_lookupd if lookupd else None, lookupd_tcp_address or []))
    return 0


async def _serve(
    make_broker: "Callable[..., DevBroker]",
    make_lookupd: "Callable[[], DevLookupd] | None",
    addresses: list[str],
) -> None:
    """Serve until a signal; register at these addresses, and at the embedded nsqlookupd if there is one."""
    from contextlib import AsyncExitStack

    from nsqkit.program import stop_event

    stop = stop_event(ending.on_second_signal)
    async with AsyncExitStack() as stack:
        if make_lookupd is not None:
            lookupd = make_lookupd()
            await lookupd.start()
            stack.push_async_callback(lookupd.stop)
            addresses = [*addresses, lookupd.tcp_address]
        served = make_broker(lookupd_tcp_addresses=addresses)
        await served.start()
        stack.push_async_callback(served.stop)
        await stop.wait()

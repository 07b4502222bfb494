"""`nsqkit broker`: the embedded broker as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from nsqkit.cli import ending, options


def broker(
    *,
    tcp_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="For clients; 0 for a free one.")
    ] = 4150,
    http_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="For HTTP; 0 for a free one.")
    ] = 4151,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    broadcast_address: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="What an nsqlookupd tells others to reach it by. [default: --host]"
        ),
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
    lookupd_tcp_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The embedded nsqlookupd's, for nsqd.")
    ] = 4160,
    lookupd_http_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The embedded nsqlookupd's, for HTTP.")
    ] = 4161,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Run the embedded broker. For development and tests: messages are kept in memory until it stops."""
    settings = options.settings(log_format=log_format, log_level=log_level)
    import asyncio
    from contextlib import AsyncExitStack

    from nsqkit.devbroker import DevBroker, DevLookupd
    from nsqkit.program import stop_event
    from nsqkit.telemetry import logs

    async def serve() -> None:
        stop = stop_event(ending.on_second_signal)
        async with AsyncExitStack() as stack:
            addresses = list(lookupd_tcp_address or ())
            if lookupd:
                found = DevLookupd(
                    tcp_port=lookupd_tcp_port,
                    http_port=lookupd_http_port,
                    host=host,
                    broadcast_address=broadcast_address,
                )
                await found.start()
                stack.push_async_callback(found.stop)
                addresses.append(found.tcp_address)
            served = DevBroker(
                tcp_port=tcp_port,
                http_port=http_port,
                host=host,
                broadcast_address=broadcast_address,
                data_path=data_path,
                lookupd_tcp_addresses=addresses,
            )
            await served.start()
            stack.push_async_callback(served.stop)
            await stop.wait()

    logs.configure(settings)
    asyncio.run(serve())
    return 0

"""`nsqkit broker`: the embedded broker as a process of its own."""

from typing import Annotated

import typer

from nsqkit.cli import options


def broker(
    *,
    tcp_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="For clients; 0 for a free one.")
    ] = 4150,
    http_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="For HTTP; 0 for a free one.")
    ] = 4151,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Run the embedded broker. For development and tests: messages are kept in memory only."""
    settings = options.settings(log_format=log_format, log_level=log_level)
    import asyncio

    from nsqkit import logs
    from nsqkit.devbroker import DevBroker
    from nsqkit.signals import stop_event

    async def serve() -> None:
        stop = stop_event()
        served = DevBroker(tcp_port=tcp_port, http_port=http_port, host=host)
        await served.start()
        try:
            await stop.wait()
        finally:
            await served.stop()

    logs.configure(settings)
    asyncio.run(serve())
    return 0

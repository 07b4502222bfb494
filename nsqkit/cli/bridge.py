"""`nsqkit bridge`: carries messages between NSQ and Kafka or RabbitMQ, until a signal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, run

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings

EXAMPLE = """An example of FILE:

\b
[[route]]
name = "orders-in"
from = "kafka://HOST:9092/orders?group=nsqkit"
to = "nsq:orders"

\b
[[route]]
name = "to-partner"
from = "nsq:orders/to-partner"
to = "amqp://HOST:5672/exchange?routing_key=orders.created"

Check it with `nsqkit check FILE --connect`. User names, passwords and TLS are settings, such as
NSQKIT_KAFKA_PASSWORD."""


@options.with_settings(options.NSQ, run.RUN, options.FILE, options.LOGGING)
def bridge(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The routes, as TOML.")],
    *,
    dev: Annotated[bool, typer.Option("--dev", help="Start the embedded broker, and use no other.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=run.MAX_WORKERS, help="Run the routes in N processes."),
    ] = None,
    nsqd: list[str] | None,
    lookupd: list[str] | None,
    nsqd_http: list[str] | None,
    debug: bool,
    settings: "Settings",
) -> int:
    """Carry messages between NSQ and Kafka or RabbitMQ. Ctrl-C or SIGTERM ends it, after those under way."""
    from nsqkit.process.targets import checked_bridge
    from nsqkit.telemetry import logs

    logs.configure_logs(settings)
    run.check_nsq(settings, dev=dev, has_nsq_options=bool(nsqd or lookupd or nsqd_http))
    targets = [checked_bridge(file)]
    if workers:
        return run.supervised(targets, settings, workers, debug=debug, dev=dev)
    return run.single(targets, settings, dev=dev)

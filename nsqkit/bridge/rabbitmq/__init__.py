"""RabbitMQ: what a route reads and writes there; needs the extra ``nsqkit[rabbitmq]`` (ADR 0098)."""

from nsqkit.errors import BridgeError

try:
    from nsqkit.bridge.rabbitmq.source import RabbitmqSource
    from nsqkit.bridge.rabbitmq.target import RabbitmqTarget
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"aio_pika", "aiormq", "pamqp"}:
        raise
    raise BridgeError("routes of RabbitMQ need aio-pika: pip install 'nsqkit[rabbitmq]'") from None

__all__ = ["RabbitmqSource", "RabbitmqTarget"]

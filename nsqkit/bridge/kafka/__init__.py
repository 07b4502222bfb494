"""Kafka: what a route reads and writes there; needs the extra ``nsqkit[kafka]`` (ADR 0097)."""

from nsqkit.errors import BridgeError

try:
    from nsqkit.bridge.kafka.source import KafkaSource
    from nsqkit.bridge.kafka.target import KafkaTarget
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "confluent_kafka":
        raise
    raise BridgeError("routes of Kafka need confluent-kafka: pip install 'nsqkit[kafka]'") from None

__all__ = ["KafkaSource", "KafkaTarget"]

"""nsqkit: a consumer framework for NSQ. Teams import everything from this module."""

from typing import TYPE_CHECKING, Any

from nsqkit.errors import (
    BreakerOpenError,
    ConnectionLostError,
    CreationError,
    DecodeError,
    EncodeError,
    EventError,
    FeedError,
    HandlerError,
    HandlerTimeoutError,
    LoadError,
    LookupFailedError,
    NsqkitError,
    PublishError,
    RefusedError,
    ResourceError,
    SettingsError,
    UnknownEventError,
)
from nsqkit.events.any_event import AnyEvent
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.typed import Typed
from nsqkit.events.types import event, upcast
from nsqkit.handler.batch import BatchHandler, Delivery
from nsqkit.handler.breaker import Breaker
from nsqkit.handler.context import Context
from nsqkit.handler.current import log_fields
from nsqkit.handler.extension import Extension, Middleware, Next, NextBatch
from nsqkit.handler.handler import Handler
from nsqkit.handler.resources import resource
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.outcome import DeadLetter, Discard, Duplicate, Finish, Outcome, Pause, Requeue
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import Exponential, RetryPolicy
from nsqkit.policy.verdict import Verdict
from nsqkit.settings.settings import Settings
from nsqkit.version import __version__

if TYPE_CHECKING:
    from nsqkit.events.codec.binary import BytesCodec, MsgpackCodec, ProtobufCodec
    from nsqkit.events.codec.codecs import JsonCodec
    from nsqkit.events.codec.compressed import GzipCodec
    from nsqkit.events.codec.envelope import Envelope
    from nsqkit.handler.outgoing import Publish
    from nsqkit.handler.retrying import retrying
    from nsqkit.publishing.blocking import BlockingPublisher
    from nsqkit.publishing.publisher import Publisher
    from nsqkit.telemetry.logs import configure_logs
    from nsqkit.telemetry.trace_setup import configure_traces
    from nsqkit.telemetry.traces import Traces
    from nsqkit.worker.worker import Worker

__all__ = [
    "AnyEvent",
    "BatchHandler",
    "BlockingPublisher",
    "Breaker",
    "BreakerOpenError",
    "BytesCodec",
    "Codec",
    "ConnectionLostError",
    "Context",
    "CreationError",
    "DeadLetter",
    "DecodeError",
    "Delivery",
    "Discard",
    "Duplicate",
    "EncodeError",
    "Envelope",
    "EventError",
    "Exponential",
    "Extension",
    "FeedError",
    "Finish",
    "GzipCodec",
    "Handler",
    "HandlerError",
    "HandlerTimeoutError",
    "JsonCodec",
    "KillSwitch",
    "LoadError",
    "LookupFailedError",
    "Middleware",
    "MsgpackCodec",
    "Next",
    "NextBatch",
    "NsqkitError",
    "Outcome",
    "Pause",
    "ProtobufCodec",
    "Publish",
    "PublishError",
    "Publisher",
    "RateLimit",
    "RefusedError",
    "Requeue",
    "ResourceError",
    "RetryPolicy",
    "Settings",
    "SettingsError",
    "Traces",
    "Typed",
    "UnknownEventError",
    "Verdict",
    "Worker",
    "__version__",
    "configure_logs",
    "configure_traces",
    "event",
    "log_fields",
    "resource",
    "retrying",
    "upcast",
]

_LAZY = {
    "BlockingPublisher": "publishing.blocking",
    "BytesCodec": "events.codec.binary",
    "Envelope": "events.codec.envelope",
    "GzipCodec": "events.codec.compressed",
    "JsonCodec": "events.codec.codecs",
    "MsgpackCodec": "events.codec.binary",
    "ProtobufCodec": "events.codec.binary",
    "Publish": "handler.outgoing",
    "Publisher": "publishing.publisher",
    "Traces": "telemetry.traces",
    "Worker": "worker.worker",
    "configure_logs": "telemetry.logs",
    "configure_traces": "telemetry.trace_setup",
    "retrying": "handler.retrying",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use if its module needs pynsq, tornado or stamina."""
    if name not in _LAZY:
        raise AttributeError(f"module 'nsqkit' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - most imports of nsqkit do not need it

    return getattr(import_module(f"nsqkit.{_LAZY[name]}"), name)

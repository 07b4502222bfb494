"""nsqkit: a consumer framework for NSQ. All that a team imports stands here."""

from typing import TYPE_CHECKING, Any

from nsqkit.batch import BatchHandler, Delivery
from nsqkit.breaker import Breaker
from nsqkit.context import Context, Middleware, Next
from nsqkit.events import event, upcast
from nsqkit.handler import Handler
from nsqkit.policy.errors import (
    BreakerOpenError,
    ConnectionLostError,
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
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.outcome import DeadLetter, Discard, Finish, Outcome, Pause, Requeue
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import Exponential, RetryPolicy
from nsqkit.resources import resource
from nsqkit.settings import Settings
from nsqkit.version import __version__

if TYPE_CHECKING:
    from nsqkit.attempts import retrying
    from nsqkit.publisher import BlockingPublisher, Publisher
    from nsqkit.worker import Worker

__all__ = [
    "BatchHandler",
    "BlockingPublisher",
    "Breaker",
    "BreakerOpenError",
    "ConnectionLostError",
    "Context",
    "DeadLetter",
    "DecodeError",
    "Delivery",
    "Discard",
    "EncodeError",
    "EventError",
    "Exponential",
    "FeedError",
    "Finish",
    "Handler",
    "HandlerError",
    "HandlerTimeoutError",
    "KillSwitch",
    "LoadError",
    "LookupFailedError",
    "Middleware",
    "Next",
    "NsqkitError",
    "Outcome",
    "Pause",
    "PublishError",
    "Publisher",
    "RateLimit",
    "RefusedError",
    "Requeue",
    "ResourceError",
    "RetryPolicy",
    "Settings",
    "SettingsError",
    "UnknownEventError",
    "Worker",
    "__version__",
    "event",
    "resource",
    "retrying",
    "upcast",
]

_LAZY = {
    "BlockingPublisher": "publisher",
    "Publisher": "publisher",
    "Worker": "worker",
    "retrying": "attempts",
}


def __getattr__(name: str) -> Any:
    """Import what needs pynsq, tornado or stamina only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'nsqkit' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only on this way

    return getattr(import_module(f"nsqkit.{_LAZY[name]}"), name)

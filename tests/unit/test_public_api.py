"""The public API: all that a team imports stands in ``nsqkit``, and costs little to import."""

import importlib
import subprocess
import sys

import pytest

import nsqkit
from tests.waiting import PATIENCE_S

PROMISED = {
    *(
        "Handler",
        "BatchHandler",
        "Delivery",
        "Context",
        "event",
        "upcast",
        "resource",
        "RetryPolicy",
        "Exponential",
    ),
    *("KillSwitch", "RateLimit", "Breaker", "BreakerOpenError", "retrying"),
    *("Finish", "Requeue", "DeadLetter", "Discard", "Pause", "Outcome", "Duplicate", "Verdict"),
    *("Extension", "Publish", "Envelope", "Traces"),
    *("AnyEvent", "Typed", "Codec", "JsonCodec", "GzipCodec", "BytesCodec", "MsgpackCodec", "ProtobufCodec"),
    *("Publisher", "BlockingPublisher", "Worker", "Middleware", "Next", "NextBatch", "Settings"),
    *("NsqkitError", "HandlerTimeoutError", "PublishError", "DecodeError", "UnknownEventError"),
    *("EncodeError", "EventError", "FeedError", "HandlerError", "LoadError", "SettingsError"),
    *("configure_logs", "configure_traces", "log_fields"),
    *("ConnectionLostError", "LookupFailedError", "RefusedError", "ResourceError", "CreationError"),
}
HEAVY = (
    *("tornado", "nsq", "typer", "rich", "pydantic", "prometheus_client", "stamina", "asyncio.subprocess"),
    *("sqlalchemy", "nsqkit.sql"),
)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_what_is_promised_is_there(name: str) -> None:
    assert name in nsqkit.__all__
    assert getattr(nsqkit, name) is not None


def test_nothing_else_is_public() -> None:
    assert set(nsqkit.__all__) == PROMISED | {"__version__"}
    assert sorted(nsqkit.__all__) == sorted(set(nsqkit.__all__))


def test_everything_public_is_documented() -> None:
    undocumented = [
        name
        for name in PROMISED - {"AnyEvent", "Outcome", "Next", "NextBatch"}
        if not (getattr(nsqkit, name).__doc__ or "").strip()
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    "name", ["Worker", "Publisher", "BlockingPublisher", "configure_logs", "configure_traces", "retrying"]
)
def test_what_is_imported_late_is_the_same_each_time(name: str) -> None:
    assert getattr(nsqkit, name) is getattr(nsqkit, name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Workers'"):
        _ = nsqkit.Workers


def test_the_wrong_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError):
        importlib.import_module("nsqkit.Workers")


def test_every_error_is_an_nsqkit_error() -> None:
    errors = [getattr(nsqkit, name) for name in PROMISED if name.endswith("Error")]
    assert all(issubclass(error, nsqkit.NsqkitError) for error in errors)
    assert issubclass(nsqkit.HandlerTimeoutError, TimeoutError)


@pytest.mark.parametrize("module", ["nsqkit", "nsqkit.handler.handler", "nsqkit.events.codec"])
def test_a_handler_module_loads_no_server_and_no_command_line(module: str) -> None:
    """So that teams' tests and tools which only import handlers start fast."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert result.stdout.split() == []


def test_the_types_are_shipped() -> None:
    assert nsqkit.__file__ is not None
    assert importlib.resources.files("nsqkit").joinpath("py.typed").is_file()

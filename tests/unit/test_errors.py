"""Errors: each is one clear line, keeps its fields, and survives copy and pickle."""

import copy
import pickle
from collections.abc import Callable

import pytest

from nsqkit import errors
from nsqkit.errors import (
    BreakerOpenError,
    BridgeError,
    ConnectionLostError,
    CreationError,
    DatabaseAwayError,
    DeadLetterStoreError,
    DecodeError,
    EncodeError,
    EventError,
    FeedError,
    HandlerError,
    HandlerTimeoutError,
    LoadError,
    LookupFailedError,
    NsqkitError,
    OutageError,
    PublishError,
    RecordRefusedError,
    RefusedError,
    ReplayError,
    ResourceError,
    SchemaError,
    SettingsError,
    TargetAwayError,
    TransactionError,
    UnawaitedError,
    UnknownEventError,
)

FIELDS = [
    pytest.param(
        TransactionError,
        {"database": "stock", "reason": "the handler has rolled back its transaction"},
        "database stock: the handler has rolled back its transaction",
        id="a transaction that cannot be committed names its database",
    ),
    pytest.param(
        DatabaseAwayError,
        {"dependency": "database stock", "remaining_s": 5.0, "reason": "connection refused"},
        "database stock is away, and tried again in 5 s: connection refused",
        id="a database that is away is named",
    ),
    pytest.param(
        TargetAwayError,
        {"dependency": "kafka:sold of out", "remaining_s": 1.0, "reason": "connection refused"},
        "kafka:sold of out is away, and tried again in 1 s: connection refused",
        id="the target of a route that is away is named",
    ),
    pytest.param(
        SchemaError,
        {"database": "stock", "reason": "it has no tables of nsqkit; run `nsqkit db upgrade stock`"},
        "database stock: it has no tables of nsqkit; run `nsqkit db upgrade stock`",
        id="a database without the tables is named",
    ),
    pytest.param(
        HandlerError,
        {"problems": ("a.py:1: no topic", "a.py:9: no channel")},
        "a.py:1: no topic\na.py:9: no channel",
        id="a wrong handler has a line for each problem",
    ),
    pytest.param(
        LoadError,
        {"problems": ("a.py:1: no topic",)},
        "a.py:1: no topic",
        id="a failed load has a line for each problem",
    ),
    pytest.param(
        DecodeError,
        {
            "topic": "orders",
            "event_type": "order.created.v1",
            "path": "$.data.total",
            "reason": "Expected `int`, got `str`",
        },
        "topic orders: order.created.v1 at $.data.total: Expected `int`, got `str`",
        id="a body of the wrong shape is named by topic, type, path and reason",
    ),
    pytest.param(
        DecodeError,
        {"topic": "orders", "event_type": "", "path": "$", "reason": "not JSON"},
        "topic orders: message at $: not JSON",
        id="a body whose type is not known is a message",
    ),
    pytest.param(
        UnknownEventError,
        {"topic": "orders", "event_type": "order.created.v3"},
        "topic orders: no handler here for event type 'order.created.v3'",
        id="an unknown event type is named",
    ),
    pytest.param(
        ConnectionLostError,
        {"address": "127.0.0.1:4150", "reason": "closed before the reply"},
        "nsqd 127.0.0.1:4150: closed before the reply",
        id="a lost connection names the nsqd",
    ),
    pytest.param(
        LookupFailedError,
        {"address": "h:4161", "reason": "nsqlookupd h:4161 knows no nsqd"},
        "nsqlookupd h:4161 knows no nsqd",
        id="a fruitless look-up names nsqlookupd, not nsqd",
    ),
    pytest.param(
        ResourceError,
        {"name": "warehouse", "reason": "OSError: down", "place": ""},
        "resource warehouse cannot be opened: OSError: down",
        id="a resource is named",
    ),
    pytest.param(
        ResourceError,
        {"name": "warehouse", "reason": "OSError: down", "place": "shop.py:3"},
        "shop.py:3: resource warehouse cannot be opened: OSError: down",
        id="a resource is named with its line",
    ),
    pytest.param(
        CreationError,
        {"name": "Notify", "reason": "KeyError: 'host'", "place": "shop.py:3"},
        "shop.py:3: Notify cannot be created: KeyError: 'host'",
        id="a handler is named with its line",
    ),
    pytest.param(
        RefusedError,
        {"address": "[::1]:4150", "code": "E_BAD_TOPIC", "description": "PUB topic name is not valid"},
        "nsqd [::1]:4150 refused: E_BAD_TOPIC PUB topic name is not valid",
        id="a refusal has nsqd's own code and words",
    ),
    pytest.param(
        RefusedError,
        {"address": "h:1", "code": "E_INVALID", "description": ""},
        "nsqd h:1 refused: E_INVALID",
        id="a refusal without words ends with its code",
    ),
    pytest.param(
        PublishError,
        {"topic": "orders", "address": "h:1", "reason": "no OK within 10 s", "permanent": False},
        "topic orders: not published to nsqd h:1: no OK within 10 s",
        id="an unconfirmed publish names topic and nsqd",
    ),
    pytest.param(
        HandlerTimeoutError,
        {"timeout_s": 1.5},
        "the handler ran longer than its timeout_s=1.5",
        id="a timeout names the setting to change",
    ),
    pytest.param(
        UnawaitedError,
        {"coroutine": "Reserve.notify", "at": "orders.py:31"},
        "orders.py:31: coroutine Reserve.notify was never awaited; write await before the call",
        id="a forgotten await names the line to change",
    ),
    pytest.param(
        BreakerOpenError,
        {"dependency": "warehouse", "remaining_s": 12.34},
        "warehouse was not called: its breaker is open for another 12.3 s",
        id="an open breaker names the dependency and how long",
    ),
    pytest.param(
        DeadLetterStoreError,
        {"path": "dead.sqlite", "reason": "disk I/O error"},
        "dead letters in dead.sqlite: disk I/O error",
        id="a store names its file",
    ),
    pytest.param(
        ReplayError,
        {"replayed": 3, "wanted": 92, "reason": "nsqd h:1: refused"},
        "stopped with 3 of 92 dead letters replayed: nsqd h:1: refused",
        id="a replay that stops says how many went out",
    ),
]
PLAIN = [
    *(NsqkitError, SettingsError, EventError, FeedError, EncodeError),
    *(BridgeError, OutageError, RecordRefusedError),
]


@pytest.mark.parametrize(("kind", "fields", "text"), FIELDS)
def test_an_error_is_one_clear_text_and_its_fields(
    kind: type[NsqkitError], fields: dict[str, object], text: str
) -> None:
    error = kind(*fields.values())
    assert str(error) == text
    assert vars(error) == fields


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],  # noqa: S301 - our own pickle
    ids=["copy", "deep copy", "pickle"],
)
@pytest.mark.parametrize(("kind", "fields", "text"), FIELDS)
def test_an_error_survives_copy_and_pickle(
    kind: type[NsqkitError],
    fields: dict[str, object],
    text: str,
    duplicate: Callable[[NsqkitError], NsqkitError],
) -> None:
    error = kind(*fields.values())
    twin = duplicate(error)
    assert type(twin) is kind
    assert twin.args == error.args == tuple(fields.values())
    assert vars(twin) == fields
    assert str(twin) == text


def test_an_error_tells_the_id_of_its_event_once_that_is_known() -> None:
    for error in (
        DecodeError("orders", "", "$", "not JSON"),
        UnknownEventError("orders", "order.created.v3"),
    ):
        assert error.event_id is None
        error.event_id = "0190"
        assert copy.copy(error).event_id == "0190"


@pytest.mark.parametrize("kind", PLAIN)
def test_an_error_without_fields_is_its_text(kind: type[NsqkitError]) -> None:
    assert str(kind("threads=0 is not in 1..256")) == "threads=0 is not in 1..256"


def test_every_error_of_the_tree_is_in_a_table() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {*classes} == {*PLAIN, *(parameters.values[0] for parameters in FIELDS)}
    assert all(issubclass(each, NsqkitError) and each.__name__.endswith("Error") for each in classes)


def test_a_handler_timeout_is_caught_as_the_timeout_that_it_is() -> None:
    with pytest.raises(TimeoutError):
        raise HandlerTimeoutError(30)


def test_a_load_error_is_caught_as_the_handler_error_that_it_is() -> None:
    with pytest.raises(HandlerError):
        raise LoadError(("a.py:1: no topic",))


@pytest.mark.parametrize(
    ("code", "permanent"),
    [
        pytest.param("E_INVALID", True, id="an invalid command stays invalid"),
        pytest.param("E_BAD_TOPIC", True, id="a bad topic name stays bad"),
        pytest.param("E_BAD_CHANNEL", True, id="a bad channel name stays bad"),
        pytest.param("E_BAD_MESSAGE", True, id="a message that is too big stays too big"),
        pytest.param("E_BAD_BODY", True, id="a body that is too big stays too big"),
        pytest.param("E_AUTH_FIRST", True, id="a missing secret stays missing"),
        pytest.param("E_AUTH_DISABLED", True, id="an nsqd without auth stays so"),
        pytest.param("E_UNAUTHORIZED", True, id="a missing permission stays missing"),
        pytest.param("E_AUTH_FAILED", False, id="an auth server that is away may come back"),
        pytest.param("E_PUB_FAILED", False, id="a publish that failed may succeed later"),
        pytest.param("E_MPUB_FAILED", False, id="a batch that failed may succeed later"),
        pytest.param("E_SUB_FAILED", False, id="a full channel may have room later"),
        pytest.param("E_FIN_FAILED", False, id="a finish that failed says nothing of the next"),
        pytest.param("", False, id="an answer without a code is not known to be permanent"),
    ],
)
def test_a_refusal_is_permanent_if_the_same_command_can_never_succeed(code: str, *, permanent: bool) -> None:
    assert RefusedError("h:1", code, "").permanent is permanent

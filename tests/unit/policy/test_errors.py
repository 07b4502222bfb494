"""Errors: each is one clear line, keeps its fields, and survives copy and pickle."""

import copy
import pickle

import pytest

from nsqkit.policy import errors
from nsqkit.policy.errors import (
    ConnectionLostError,
    DecodeError,
    EncodeError,
    EventError,
    FeedError,
    HandlerError,
    HandlerTimeoutError,
    LoadError,
    NsqkitError,
    PublishError,
    RefusedError,
    SettingsError,
    UnknownEventError,
)

ALL = [
    pytest.param(
        SettingsError("threads=0 is not in 1..256"),
        "threads=0 is not in 1..256",
        {},
        id="settings",
    ),
    pytest.param(EventError("Order is not an event"), "Order is not an event", {}, id="event"),
    pytest.param(
        HandlerError(("a.py:1: no topic", "a.py:9: no channel")),
        "a.py:1: no topic\na.py:9: no channel",
        {"problems": ("a.py:1: no topic", "a.py:9: no channel")},
        id="a wrong handler has one line per problem",
    ),
    pytest.param(
        LoadError(("a.py:1: no topic",)),
        "a.py:1: no topic",
        {"problems": ("a.py:1: no topic",)},
        id="a failed load has one line per problem",
    ),
    pytest.param(FeedError("line 7: not JSON"), "line 7: not JSON", {}, id="feed"),
    pytest.param(EncodeError("object is not an event"), "object is not an event", {}, id="encode"),
    pytest.param(
        DecodeError("orders", "order.created.v1", "$.data.total", "Expected `int`, got `str`"),
        "topic orders: order.created.v1 at $.data.total: Expected `int`, got `str`",
        {
            "topic": "orders",
            "event_type": "order.created.v1",
            "path": "$.data.total",
            "reason": "Expected `int`, got `str`",
        },
        id="a body of the wrong shape is named by topic, type, path and reason",
    ),
    pytest.param(
        DecodeError("orders", "", "$", "not JSON"),
        "topic orders: message at $: not JSON",
        {"topic": "orders", "event_type": "", "path": "$", "reason": "not JSON"},
        id="a body whose type is not known is a message",
    ),
    pytest.param(
        UnknownEventError("orders", "order.created.v3"),
        "topic orders: no handler here for event type 'order.created.v3'",
        {"topic": "orders", "event_type": "order.created.v3"},
        id="an unknown event type is named",
    ),
    pytest.param(
        ConnectionLostError("127.0.0.1:4150", "closed before the reply"),
        "nsqd 127.0.0.1:4150: closed before the reply",
        {"address": "127.0.0.1:4150", "reason": "closed before the reply"},
        id="a lost connection names the nsqd",
    ),
    pytest.param(
        RefusedError("[::1]:4150", "E_BAD_TOPIC", "PUB topic name is not valid"),
        "nsqd [::1]:4150 refused: E_BAD_TOPIC PUB topic name is not valid",
        {"address": "[::1]:4150", "code": "E_BAD_TOPIC", "description": "PUB topic name is not valid"},
        id="a refusal has nsqd's own code and words",
    ),
    pytest.param(
        RefusedError("h:1", "E_INVALID", ""),
        "nsqd h:1 refused: E_INVALID",
        {"address": "h:1", "code": "E_INVALID", "description": ""},
        id="a refusal without words ends with its code",
    ),
    pytest.param(
        PublishError("orders", "h:1", "no OK within 10 s", False),
        "topic orders: not published to nsqd h:1: no OK within 10 s",
        {"topic": "orders", "address": "h:1", "reason": "no OK within 10 s", "permanent": False},
        id="an unconfirmed publish names topic and nsqd",
    ),
    pytest.param(
        HandlerTimeoutError(1.5),
        "the handler ran longer than its timeout_s=1.5",
        {"timeout_s": 1.5},
        id="a timeout names the setting to change",
    ),
]


@pytest.mark.parametrize(("error", "text", "fields"), ALL)
def test_an_error_is_one_clear_text_and_its_fields(
    error: NsqkitError, text: str, fields: dict[str, object]
) -> None:
    assert str(error) == text
    assert vars(error) == fields


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],  # noqa: S301 - our own pickle
)
@pytest.mark.parametrize(("error", "text", "fields"), ALL)
def test_an_error_survives_copy_and_pickle(
    error: NsqkitError, text: str, fields: dict[str, object], duplicate: type[NsqkitError]
) -> None:
    twin = duplicate(error)
    assert type(twin) is type(error)
    assert twin.args == error.args
    assert str(twin) == text
    assert vars(twin) == fields


def test_every_error_of_the_tree_is_in_the_table() -> None:
    tree = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, NsqkitError)
    }
    assert {type(parameters.values[0]) for parameters in ALL} == tree - {NsqkitError}


def test_every_error_of_the_tree_is_named_as_one() -> None:
    assert all(type(parameters.values[0]).__name__.endswith("Error") for parameters in ALL)


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
        pytest.param("E_AUTH_FAILED", True, id="a wrong secret stays wrong"),
        pytest.param("E_PUB_FAILED", False, id="a publish that failed may succeed later"),
        pytest.param("E_MPUB_FAILED", False, id="a batch that failed may succeed later"),
        pytest.param("E_SUB_FAILED", False, id="a full channel may have room later"),
        pytest.param("E_FIN_FAILED", False, id="a finish that failed says nothing of the next"),
        pytest.param("", False, id="an answer without a code is not known to be permanent"),
    ],
)
def test_a_refusal_is_permanent_if_the_same_command_can_never_succeed(code: str, *, permanent: bool) -> None:
    assert RefusedError("h:1", code, "").permanent is permanent

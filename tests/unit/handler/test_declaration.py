"""Declarations: every mistake in a handler class is told in one line, with what to write instead."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nsqkit.events.types import event
from nsqkit.handler.context import Context
from nsqkit.handler.declaration import Declaration, misspelt
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.outcome import Finish
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy


@event("test_declaration.created", version=1, topic="declared")
@dataclasses.dataclass
class Created:
    pass


@event("test_declaration.cancelled", version=1, topic="declared")
@dataclasses.dataclass
class Cancelled:
    pass


@event("test_declaration.paid", version=2, topic="payments")
@dataclasses.dataclass
class Paid:
    pass


@event("test_declaration.homeless", version=1)
@dataclasses.dataclass
class Homeless:
    pass


@dataclasses.dataclass
class Unregistered:
    pass


async def handle(self: object, event: object, ctx: Context) -> None:
    """As it should be."""


def plain(self: object, event: object, ctx: Context) -> Finish:
    return Finish()


def _problems(
    *, models: tuple[Any, ...] = (Created,), handle: Callable[..., Any] | None = handle, **options: object
) -> list[str]:
    return Declaration(models, {"channel": "notify", **options}, handle).problems()


@pytest.mark.parametrize(
    ("models", "options", "method"),
    [
        pytest.param((Created,), {}, handle, id="the least that is needed"),
        pytest.param((Created, Cancelled), {}, handle, id="a union of one topic's events"),
        pytest.param(
            (Created, Paid), {"topic": "everything"}, handle, id="a union of several, with a topic chosen"
        ),
        pytest.param((Homeless,), {"topic": "orders"}, handle, id="a topic that the event does not name"),
        pytest.param((Created,), {"topic": "orders#ephemeral"}, handle, id="an ephemeral topic"),
        pytest.param((Created,), {"max_in_flight": 1}, handle, id="one at a time"),
        pytest.param((Created,), {"max_in_flight": 2500}, handle, id="as many as nsqd allows"),
        pytest.param((Created,), {"timeout_s": 0.001}, handle, id="a short timeout"),
        pytest.param((Created,), {"timeout_s": 880}, handle, id="the longest timeout"),
        pytest.param((Created,), {"max_age_s": 1e9, "on_expired": "discard"}, handle, id="any age"),
        pytest.param((Created,), {"on_expired": "dead_letter"}, handle, id="expired ones are kept"),
        pytest.param((Created,), {"on_unknown": "requeue"}, handle, id="unknown ones wait"),
        pytest.param((Created,), {"on_unknown": "discard"}, handle, id="unknown ones are dropped"),
        pytest.param((Created,), {"on_unknown": "dead_letter"}, handle, id="unknown ones are kept"),
        pytest.param((Created, Cancelled), {"select": lambda _: None}, handle, id="a choice of its own"),
        pytest.param((Created,), {"dead_letters": False}, handle, id="no dead letters"),
        pytest.param((Created,), {"retry": RetryPolicy(3)}, handle, id="a policy of its own"),
        pytest.param((Created,), {"kill_switch": KillSwitch()}, handle, id="a kill switch"),
        pytest.param((Created,), {"rate_limit": RateLimit(5)}, handle, id="a rate limit"),
        pytest.param((Created,), {"errors": (OSError, ValueError)}, handle, id="errors that are counted"),
        pytest.param((Created,), {"errors": ()}, handle, id="no errors that are counted"),
        pytest.param((Created,), {"threads": 1}, plain, id="one thread"),
        pytest.param((Created,), {"threads": 256}, plain, id="as many threads as there can be"),
        pytest.param((Created,), {"run_on_loop": True}, plain, id="a plain handler on the loop"),
        pytest.param((Created,), {"run_on_loop": False}, handle, id="what is so anyway"),
    ],
)
def test_a_declaration_that_can_be_meant_has_no_problems(
    models: tuple[Any, ...], options: dict[str, Any], method: Callable[..., Any]
) -> None:
    assert _problems(models=models, handle=method, **options) == []


ERRORS_TEXT = "is not a tuple; write errors=(ThisError, ThatError)"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param(
            {"channel": None}, 'has no channel; add channel="…" to the class keywords', id="no channel"
        ),
        pytest.param({"channel": 7}, "channel=7 is not a string", id="a number as channel"),
        pytest.param(
            {"channel": "not ify"},
            "channel name 'not ify' has characters outside A-Z a-z 0-9 . _ - (and a final #ephemeral)",
            id="a channel that nsqd refuses",
        ),
        pytest.param({"channel": ""}, "channel name is empty", id="an empty channel"),
        pytest.param({"topic": b"orders"}, "topic=b'orders' is not a string", id="bytes as topic"),
        pytest.param(
            {"topic": "or/ders"},
            "topic name 'or/ders' has characters outside A-Z a-z 0-9 . _ - (and a final #ephemeral)",
            id="a topic that nsqd refuses",
        ),
        pytest.param({"topic": ""}, "topic name is empty", id="an empty topic"),
        pytest.param({"max_in_flight": 0}, "max_in_flight=0 is not in 1..2500", id="nothing in flight"),
        pytest.param(
            {"max_in_flight": 2501}, "max_in_flight=2501 is not in 1..2500", id="more than nsqd allows"
        ),
        pytest.param({"max_in_flight": 1.5}, "max_in_flight=1.5 is not a whole number", id="one and a half"),
        pytest.param({"max_in_flight": True}, "max_in_flight=True is not a whole number", id="a boolean"),
        pytest.param({"timeout_s": 0}, "timeout_s=0 must be above 0 and at most 880 seconds", id="no time"),
        pytest.param(
            {"timeout_s": 880.5},
            "timeout_s=880.5 must be above 0 and at most 880 seconds",
            id="longer than nsqd lets a message be held",
        ),
        pytest.param(
            {"timeout_s": "30"}, "timeout_s='30' is not a number of seconds", id="a text as timeout"
        ),
        pytest.param(
            {"timeout_s": True}, "timeout_s=True is not a number of seconds", id="a boolean as timeout"
        ),
        pytest.param(
            {"timeout_s": float("nan")},
            "timeout_s=nan must be above 0 and at most 880 seconds",
            id="no number",
        ),
        pytest.param({"max_age_s": 0}, "max_age_s=0 must be above 0 seconds", id="no age"),
        pytest.param({"max_age_s": -1.5}, "max_age_s=-1.5 must be above 0 seconds", id="a negative age"),
        pytest.param({"max_age_s": [60]}, "max_age_s=[60] is not a number of seconds", id="a list as age"),
        pytest.param(
            {"on_unknown": "drop"},
            "on_unknown='drop' is not one of ('requeue', 'discard', 'dead_letter')",
            id="a way for unknown types that does not exist",
        ),
        pytest.param(
            {"on_expired": "requeue"},
            "on_expired='requeue' is not one of ('discard', 'dead_letter')",
            id="a way for expired ones that does not exist",
        ),
        pytest.param(
            {"select": "type"},
            "select='type' is not a plain function; write def select_event(body) above the class",
            id="a field for a function",
        ),
        pytest.param({"run_on_loop": 0}, "run_on_loop=0 is not True or False", id="a number as switch"),
        pytest.param({"dead_letters": "no"}, "dead_letters='no' is not True or False", id="a text as switch"),
        pytest.param(
            {"kill_switch": 0.5},
            "kill_switch=0.5 is not a policy; write kill_switch=KillSwitch(failure_ratio=…, min_messages=…)",
            id="a number as kill switch",
        ),
        pytest.param(
            {"rate_limit": 5},
            "rate_limit=5 is not a policy; write rate_limit=RateLimit(per_s=…)",
            id="a number as rate limit",
        ),
        pytest.param(
            {"retry": 8},
            "retry=8 is not a policy; write retry=RetryPolicy(max_attempts=…, backoff=…)",
            id="a number as policy",
        ),
        pytest.param(
            {"errors": OSError}, f"errors=<class 'OSError'> {ERRORS_TEXT}", id="one error for several"
        ),
        pytest.param({"errors": "OSError"}, f"errors='OSError' {ERRORS_TEXT}", id="a text for errors"),
        pytest.param(
            {"errors": (OSError, 7)},
            "errors has 7, which is not an exception class",
            id="a number among errors",
        ),
        pytest.param(
            {"errors": (SystemExit,)},
            "errors has <class 'SystemExit'>, which is not an exception class",
            id="what stops the process among errors",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_range(options: dict[str, Any], problem: str) -> None:
    assert _problems(**options) == [problem]


@pytest.mark.parametrize("threads", [0, 257])
def test_a_pool_has_a_size_that_can_be_meant(threads: int) -> None:
    assert _problems(handle=plain, threads=threads) == [f"threads={threads} is not in 1..256"]


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        pytest.param(
            (), "derives from Handler without an event type; write Handler[YourEvent]", id="no event"
        ),
        pytest.param(
            ("Created",),
            "event type 'Created' is not a class; define the event above the handler",
            id="a text",
        ),
        pytest.param(
            (list[int],),
            "event type list[int] is not a class; define the event above the handler",
            id="a list",
        ),
        pytest.param(
            (Unregistered,),
            f'{__name__}.Unregistered is not an event: decorate it with @event("some.name", version=1)',
            id="a class without @event",
        ),
        pytest.param(
            (Created, Unregistered),
            f'{__name__}.Unregistered is not an event: decorate it with @event("some.name", version=1)',
            id="one of a union",
        ),
        pytest.param(
            (Homeless,),
            'has no topic; add topic="…" to the class keywords or to @event(…)',
            id="an event without a topic",
        ),
        pytest.param(
            (Created, Paid),
            "its events have different topics (test_declaration.created.v1 on declared, "
            'test_declaration.paid.v2 on payments); add topic="…" to the class keywords',
            id="events of different topics",
        ),
        pytest.param(
            (Homeless, Unregistered),
            f'{__name__}.Unregistered is not an event: decorate it with @event("some.name", version=1)',
            id="one of a union, before its topic can be known",
        ),
    ],
)
def test_a_wrong_event_is_named_with_what_to_write(models: tuple[Any, ...], problem: str) -> None:
    assert _problems(models=models) == [problem]


def test_every_wrong_event_of_a_union_is_named() -> None:
    assert [problem.split()[0] for problem in _problems(models=("Created", Unregistered))] == [
        "event",
        f"{__name__}.Unregistered",
    ]


async def _without_ctx(self: object, event: object) -> None:
    """Takes too little."""


async def _with_more(self: object, event: object, ctx: Context, clock: object) -> None:
    """Takes too much."""


async def _with_default(self: object, event: object, ctx: Context, clock: object = None) -> None:
    """Takes what it can do without."""


def _yields(self: object, event: object, ctx: Context) -> Iterator[None]:
    yield


async def _yields_later(self: object, event: object, ctx: Context) -> Any:
    yield


@pytest.mark.parametrize(
    ("method", "options", "problems"),
    [
        pytest.param(
            None, {}, ["has no handle method; write async def handle(self, event, ctx)"], id="no handle"
        ),
        pytest.param(_without_ctx, {}, ["handle must take (self, event, ctx)"], id="too few parameters"),
        pytest.param(_with_more, {}, ["handle must take (self, event, ctx)"], id="too many parameters"),
        pytest.param(_with_default, {}, [], id="more parameters with a default"),
        pytest.param(_yields, {}, ["handle must not yield; return None or an outcome"], id="a generator"),
        pytest.param(
            _yields_later, {}, ["handle must not yield; return None or an outcome"], id="an async generator"
        ),
        pytest.param(
            handle,
            {"threads": 4},
            ["threads is for a plain def handle; an async def handle is bounded by max_in_flight"],
            id="threads for a coroutine",
        ),
        pytest.param(
            handle,
            {"run_on_loop": True},
            ["run_on_loop is for a plain def handle; an async def handle runs on the loop anyway"],
            id="the loop for a coroutine",
        ),
    ],
)
def test_a_wrong_method_is_told(
    method: Callable[..., Any] | None, options: dict[str, Any], problems: list[str]
) -> None:
    assert _problems(handle=method, **options) == problems


def test_all_mistakes_are_told_at_once() -> None:
    problems = Declaration((), {"topic": "or ders", "max_in_flight": 0, "timeout_s": -1}, None).problems()
    assert [problem.split()[0] for problem in problems] == [
        "derives",
        "topic",
        "has",
        "max_in_flight=0",
        "timeout_s=-1",
        "has",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("chanel", "unknown class keyword 'chanel'; did you mean 'channel'?", id="close to one"),
        pytest.param("colour", "unknown class keyword 'colour'", id="close to none"),
    ],
)
def test_a_keyword_that_does_not_exist_is_told(name: str, expected: str) -> None:
    assert misspelt(name, ("topic", "channel", "abstract")) == expected

"""Handlers: a class is checked when it is made, and keeps what was declared."""

import dataclasses
import inspect
from typing import Any, TypeVar, Union

import msgspec
import pytest

from nsqkit import AnyEvent
from nsqkit.errors import HandlerError
from nsqkit.events.types import REGISTRY, event
from nsqkit.handler.context import Context
from nsqkit.handler.handler import Handler
from nsqkit.handler.mistakes import deferring
from nsqkit.policy.outcome import Discard, Outcome, Requeue
from nsqkit.policy.retry import RetryPolicy


@event("test_handler.created", version=1, topic="handled")
@dataclasses.dataclass
class Created:
    order_id: str


@event("test_handler.cancelled", version=2, topic="handled")
class Cancelled(msgspec.Struct):
    order_id: str


def _line() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_handler_takes_its_topic_from_its_event() -> None:
    line = _line() + 2

    class Notify(Handler[Created], channel="notify"):
        async def handle(self, event: Created, ctx: Context) -> None: ...

    spec = Notify.spec
    assert (spec.topic, spec.channel) == ("handled", "notify")
    assert spec.event_types == (REGISTRY.of(Created),)
    assert spec.handler is Notify
    assert spec.name == "Notify"
    assert spec.is_async
    assert spec.location == f"{__file__}:{line}"
    assert Notify.problems == ()


def test_a_handler_has_these_options_unless_told_otherwise() -> None:
    class Quiet(Handler[Created], channel="quiet"):
        def handle(self, event: Created, ctx: Context) -> None: ...

    spec = Quiet.spec
    assert (spec.max_in_flight, spec.timeout_s, spec.threads, spec.run_on_loop) == (100, 30.0, None, False)
    assert spec.retry == RetryPolicy()
    assert (spec.max_age_s, spec.on_expired, spec.on_unknown) == (None, "dead_letter", None)
    assert spec.dead_letters is None
    assert spec.errors == ()
    assert spec.declared_errors == frozenset()
    assert not spec.is_async


def test_a_handler_keeps_every_option_that_it_is_given() -> None:
    class Reserve(
        Handler[Created],
        topic="elsewhere",
        channel="reserve",
        max_in_flight=7,
        timeout_s=1.5,
        retry=RetryPolicy(3, on={KeyError: Discard()}),
        threads=2,
        run_on_loop=False,
        max_age_s=60,
        on_expired="discard",
        on_unknown="dead_letter",
        dead_letters=False,
        errors=(OSError,),
    ):
        def handle(self, event: Created, ctx: Context) -> Outcome:
            return Requeue()

    spec = Reserve.spec
    assert (spec.topic, spec.channel, spec.max_in_flight, spec.timeout_s) == ("elsewhere", "reserve", 7, 1.5)
    assert spec.retry == RetryPolicy(3, on={KeyError: Discard()})
    assert (spec.threads, spec.run_on_loop, spec.max_age_s) == (2, False, 60)
    assert (spec.on_expired, spec.on_unknown, spec.dead_letters) == ("discard", "dead_letter", False)
    assert spec.errors == (OSError,)
    assert spec.declared_errors == {"OSError", "KeyError"}


def test_a_union_is_several_events() -> None:
    class Both(Handler[Created | Cancelled], channel="both"):
        async def handle(self, event: Created | Cancelled, ctx: Context) -> None: ...

    class Old(Handler[Union[Created, Cancelled]], channel="old"):  # noqa: UP007 - the old way to write it
        async def handle(self, event: Created | Cancelled, ctx: Context) -> None: ...

    for handler in (Both, Old):
        assert [known.wire_type for known in handler.spec.event_types] == [
            "test_handler.created.v1",
            "test_handler.cancelled.v2",
        ]


def test_an_abstract_class_shares_its_options_and_is_no_handler() -> None:
    class Team(Handler[Created], abstract=True, max_in_flight=7, timeout_s=5, topic="team"):
        pass

    class Notify(Team, channel="notify", timeout_s=6):
        async def handle(self, event: Created, ctx: Context) -> None: ...

    assert "spec" not in vars(Team)
    assert (Notify.spec.topic, Notify.spec.max_in_flight, Notify.spec.timeout_s) == ("team", 7, 6)


E = TypeVar("E", bound=AnyEvent)


def test_an_abstract_class_may_leave_the_event_open() -> None:
    class Team(Handler[E], abstract=True, max_in_flight=7):
        async def handle(self, event: E, ctx: Context) -> None: ...

    class Notify(Team[Created], channel="notify"):
        pass

    class Refund(Team[Cancelled], channel="refund"):
        pass

    assert [known.model for each in (Notify, Refund) for known in each.spec.event_types] == [
        Created,
        Cancelled,
    ]
    assert Notify.spec.max_in_flight == 7


def test_the_event_is_that_of_the_handler_whatever_stands_before_it() -> None:
    class Cache(dict[str, int]):
        pass

    class Notify(dict[str, int], Handler[Created], channel="notify"):
        async def handle(self, event: Created, ctx: Context) -> None: ...

    class Refund(Cache, Handler[Cancelled], channel="refund"):
        async def handle(self, event: Cancelled, ctx: Context) -> None: ...

    assert [known.model for each in (Notify, Refund) for known in each.spec.event_types] == [
        Created,
        Cancelled,
    ]


def test_a_handler_may_derive_from_another_on_a_channel_of_its_own() -> None:
    class First(Handler[Created], channel="first", max_in_flight=3):
        async def handle(self, event: Created, ctx: Context) -> None: ...

    class Second(First, channel="second"):
        pass

    assert (First.spec.channel, Second.spec.channel) == ("first", "second")
    assert Second.spec.max_in_flight == 3


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        pytest.param(
            "chanel", "notify", "unknown class keyword 'chanel'; did you mean 'channel'?", id="misspelt"
        ),
        pytest.param("colour", "red", "unknown class keyword 'colour'", id="invented"),
        pytest.param(
            "abstrct", True, "unknown class keyword 'abstrct'; did you mean 'abstract'?", id="a flag"
        ),
    ],
)
def test_a_keyword_that_does_not_exist_is_refused(keyword: str, value: object, problem: str) -> None:
    keywords: Any = {keyword: value}
    with pytest.raises(HandlerError) as caught:

        class Notify(Handler[Created], channel="notify", **keywords):
            async def handle(self, event: Created, ctx: Context) -> None: ...

    (line,) = caught.value.problems
    assert line.startswith(f"{__file__}:")
    assert line.endswith(f": Notify: {problem}")


def test_a_misspelt_keyword_of_an_abstract_class_is_refused_too() -> None:
    keywords: Any = {"max_inflight": 7}
    with pytest.raises(HandlerError, match="did you mean 'max_in_flight'"):

        class Team(Handler[Created], abstract=True, **keywords):
            pass


def test_all_mistakes_of_a_class_are_told_with_its_line() -> None:
    line = _line() + 3
    with pytest.raises(HandlerError) as caught:

        class Wrong(Handler[Created], topic="or ders", max_in_flight=0):
            pass

    assert all(problem.startswith(f"{__file__}:{line}: Wrong: ") for problem in caught.value.problems)
    assert len(caught.value.problems) == 4
    assert str(caught.value) == "\n".join(caught.value.problems)


def test_a_handler_without_brackets_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"Bare: derives from Handler without an event type"):

        class Bare(Handler, channel="bare"):  # type: ignore[type-arg]
            async def handle(self, event: object, ctx: Context) -> None: ...


def test_an_event_that_is_defined_further_down_is_refused() -> None:
    with pytest.raises(
        HandlerError, match=r"Early: event type .*Later.* is not a class; define the event above"
    ):

        class Early(Handler["Later"], channel="early"):  # type: ignore[name-defined]
            async def handle(self, event: object, ctx: Context) -> None: ...


def test_a_loader_gathers_the_mistakes_instead() -> None:
    token = deferring.set(True)
    try:

        class Wrong(Handler[Created]):
            async def handle(self, event: Created, ctx: Context) -> None: ...
    finally:
        deferring.reset(token)
    (problem,) = Wrong.problems
    assert problem.endswith('Wrong: has no channel; add channel="…" to the class keywords')
    assert "spec" not in vars(Wrong)


def test_a_mistake_is_not_inherited() -> None:
    token = deferring.set(True)
    try:

        class Wrong(Handler[Created]):
            async def handle(self, event: Created, ctx: Context) -> None: ...

        class Right(Wrong, channel="right"):
            pass
    finally:
        deferring.reset(token)
    assert Right.problems == ()
    assert Right.spec.channel == "right"


def test_a_handler_is_made_and_called_like_any_class() -> None:
    class Count(Handler[Created], channel="count"):
        def __init__(self, start: int) -> None:
            self.total = start

        def handle(self, event: Created, ctx: Context) -> None:
            self.total += ctx.attempts

    count = Count(40)
    count.handle(Created("o-1"), Context(attempts=2))
    assert count.total == 42


def test_a_class_without_a_handle_of_its_own_does_nothing() -> None:
    class Team(Handler[Created], abstract=True):
        pass

    with pytest.raises(NotImplementedError):
        Team().handle(Created("o-1"), Context())  # type: ignore[abstract]

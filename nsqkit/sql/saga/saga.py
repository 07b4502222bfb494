"""Saga: the base class of sagas; it checks each class statement and makes the handlers of a saga."""

import typing
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from nsqkit.errors import EventError
from nsqkit.events.any_event import AnyEvent
from nsqkit.handler.declaration import location_of
from nsqkit.handler.group import HandlerGroup
from nsqkit.handler.mistakes import report
from nsqkit.sql.database import Database
from nsqkit.sql.saga.declaration import named_problems, replies_of, step_problems
from nsqkit.sql.saga.events import start_event, topic_of
from nsqkit.sql.saga.handlers import handlers_of
from nsqkit.sql.saga.reading import DatabaseReader
from nsqkit.sql.saga.spec import SagaSpec
from nsqkit.sql.saga.steps import Step

S = TypeVar("S")


class Saga(HandlerGroup, Generic[S]):
    """A transaction across services: steps in order, undone in reverse order if one of them fails.

    Derive from it with the class of the state, a Struct or a dataclass that is not changed in place, and name
    the steps::

        class PlaceOrder(Saga[Order], version=1, on=database):
            def reserve(self, order: Order) -> ReserveStock:
                return ReserveStock(order.order_id)

            def reserved(self, order: Order, event: StockReserved) -> None: ...

            def no_stock(self, order: Order, event: StockRefused) -> Refused:
                return Refused(event.reason)

            def release(self, order: Order) -> ReleaseStock:
                return ReleaseStock(order.order_id)

            steps = (Step("reserve", Send(reserve, replies=(reserved, no_stock)), undo=Send(release)),)

    ``ctx.publish(PlaceOrder.start("o1", Order("o1")))`` starts an instance, and so does any other way to
    publish the event. A worker that runs the module runs the saga.

    Parameters of ``__init__`` are resources, found by their type.

    Args:
        version: Version of the steps, 1 or more. Raise it when instances of the old steps could not go on.
        on: Database of the instances.
        name: Name of the saga; by default that of the class.
        channel: Channel of its handlers; by default its name.
        older: Classes of older versions, whose instances go on with their old steps. Each has ``name`` of the
            saga, and the parameters of ``__init__`` of this class.

    Attributes:
        steps: The steps, in order; 1 or more.
        spec: The checked declaration; not set for a class with mistakes.
        versions: The classes of all versions that are known, by version.

    Raises:
        HandlerError: On class creation, if the declaration has mistakes; lists all of them.
    """

    steps: ClassVar[Sequence[Step]] = ()
    spec: ClassVar[SagaSpec]
    versions: ClassVar["dict[int, type[Saga[Any]]]"] = {}

    def __init_subclass__(
        cls,
        *,
        version: int | None = None,
        on: Database | None = None,
        name: str | None = None,
        channel: str | None = None,
        older: "Sequence[type[Saga[Any]]]" = (),
    ) -> None:
        super().__init_subclass__()
        location = location_of(cls.__module__)
        name = cls.__name__ if name is None else name
        channel = name if channel is None else channel
        found = [
            *named_problems(name, version, channel),
            *_state_problems(cls),
            *_database_problems(on),
            *step_problems(cls.steps),
            *_older_problems(older, name, version),
        ]
        if not found:
            found += cls._specify(
                name, typing.cast("int", version), channel, typing.cast("Database", on), location
            )
        cls.problems = tuple(f"{location}: {cls.__name__}: {problem}" for problem in found)
        report(cls.problems)
        if cls.problems:
            return
        cls.versions = {each.spec.version: each for each in (*older, cls)}
        for each in older:
            each.handlers = ()  # those of this class handle its instances
        cls.handlers = handlers_of(cls)
        cls.saga_reader = DatabaseReader(cls.spec.database.name)

    @classmethod
    def _specify(cls, name: str, version: int, channel: str, on: Database, location: str) -> list[str]:
        """Set the spec of a class whose declaration is right by itself; return what is wrong with others."""
        state, steps = _state_of(cls), tuple(cls.steps)
        try:
            start = start_event(name, version, state, cls.__module__)
        except EventError as error:
            return [f"another saga has the name {name!r} and version {version}: {error}"]
        cls.spec = SagaSpec(
            name=name,
            version=version,
            channel=channel,
            topic=topic_of(name),
            database=on,
            state=state,
            start=start,
            steps=steps,
            replies=replies_of(steps),
            plan=tuple(step.plan for step in steps),
            location=location,
        )
        return []

    @classmethod
    def start(cls, key: str, state: S, *, correlation_id: str = "") -> AnyEvent:
        """Return the event that starts an instance; publish it in any way. A key starts once.

        Args:
            key: Identifies the instance in its saga, such as the number of an order; not empty.
            state: State before the first step.
            correlation_id: ``correlationid`` of all its commands, by which replies are matched; unique in its
                saga. By default ``SAGA/KEY``.

        Raises:
            ValueError: If *key* is empty or no text.
        """
        if not (isinstance(key, str) and key):  # type: ignore[redundant-expr]
            raise ValueError(f"{cls.spec.name}.start(key={key!r}): give a text that is not empty")
        started: AnyEvent = cls.spec.start(key, state, correlation_id or f"{cls.spec.name}/{key}")
        return started


def _state_of(cls: type[Saga[Any]]) -> Any:
    bases = getattr(cls, "__orig_bases__", ())
    return next((get_args(base)[0] for base in bases if get_origin(base) is Saga), None)


def _state_problems(cls: type[Saga[Any]]) -> list[str]:
    state = _state_of(cls)
    kinds = ("__struct_fields__", "__dataclass_fields__")
    if isinstance(state, type) and any(hasattr(state, each) for each in kinds):
        return []
    return [f"its state {state!r} is neither a Struct nor a dataclass; write Saga[YourState]"]


def _database_problems(on: object) -> list[str]:
    return [] if isinstance(on, Database) else [f"on={on!r} is not a database; write on=Database(…)"]


def _older_problems(older: Sequence[Any], name: str, version: object) -> list[str]:
    found = []
    for each in older:
        spec = getattr(each, "spec", None)
        if not isinstance(spec, SagaSpec):
            found.append(f"older={each!r} is no saga without mistakes")
        elif spec.name != name or not isinstance(version, int) or spec.version >= version:
            remedy = f"give it name={name!r}, and a version below"
            found.append(f"older version {spec.version} of saga {spec.name!r}: {remedy}")
    return found

"""Resources: generator functions that handlers find by the type of what they yield."""

import contextlib
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Annotated, Any

import pytest
from typing_extensions import TypeAliasType

from nsqkit.errors import HandlerError
from nsqkit.handler.resources import Resource, circle, parameters, provider, resource, with_brought
from nsqkit.settings.settings import Settings


class Warehouse:
    pass


class ColdWarehouse(Warehouse):
    pass


class Mailer:
    pass


@resource
async def warehouse(settings: Settings) -> AsyncIterator[Warehouse]:
    """Where things are."""
    yield Warehouse()


@resource
def cold(settings: Settings, mailer: Mailer) -> Iterator[ColdWarehouse]:
    yield ColdWarehouse()


@resource
def mailer() -> Generator[Mailer, None, None]:
    yield Mailer()


@resource
async def other_mailer() -> AsyncGenerator[Mailer, None]:
    yield Mailer()


@resource
def sizes() -> Iterator[list[int]]:
    yield [1]


@pytest.mark.parametrize(
    ("function", "name", "provides"),
    [
        pytest.param(warehouse.function, "warehouse", Warehouse, id="an async iterator"),
        pytest.param(cold.function, "cold", ColdWarehouse, id="an iterator"),
        pytest.param(mailer.function, "mailer", Mailer, id="a generator"),
        pytest.param(other_mailer.function, "other_mailer", Mailer, id="an async generator"),
        pytest.param(sizes.function, "sizes", list[int], id="of a generic type"),
    ],
)
def test_a_resource_provides_what_its_function_yields(function: Any, name: str, provides: Any) -> None:
    made = resource(function)
    assert (made.name, made.provides) == (name, provides)
    assert (made.__doc__, made.__module__) == (function.__doc__, __name__)


async def test_a_resource_can_be_called_as_it_was_written() -> None:
    opened = warehouse(Settings())
    assert isinstance(opened, AsyncIterator)
    assert [type(each) async for each in opened] == [Warehouse]
    assert [type(each) for each in cold(Settings(), mailer=Mailer())] == [ColdWarehouse]  # type: ignore[union-attr]


def _returns() -> Callable[..., Any]:
    def function() -> Warehouse:
        return Warehouse()

    return function


def _coroutine() -> Callable[..., Any]:
    async def function() -> Warehouse:
        return Warehouse()

    return function


def _bare() -> Callable[..., Any]:
    def function():  # type: ignore[no-untyped-def]  # noqa: ANN202 - that is the mistake
        yield Warehouse()

    return function


def _without_brackets() -> Callable[..., Any]:
    def function() -> Iterator:  # type: ignore[type-arg]
        yield Warehouse()

    return function


def _collects() -> Callable[..., Any]:
    def function() -> list[Warehouse]:  # type: ignore[misc]
        yield Warehouse()

    return function


@resource
def later() -> "Iterator[Later]":
    yield Later()


class Later: ...


@resource
def nowhere() -> "Iterator[Nowhere]":  # type: ignore[name-defined]  # noqa: F821 - that is the mistake
    yield Warehouse()


def test_a_resource_may_yield_what_is_defined_below_it() -> None:
    assert later.provides is Later


Own = TypeAliasType("Own", Warehouse)
Owns = TypeAliasType("Owns", Iterator[Own])


@resource
def aliased() -> Owns:
    yield Warehouse()


def _asks(warehouse: Annotated[Own, "of the shop"]) -> None: ...


def test_an_alias_is_what_it_stands_for() -> None:
    assert aliased.provides is Warehouse
    assert parameters(_asks) == {"warehouse": Warehouse}


def test_a_decorated_function_that_is_no_resource_is_told_with_its_own_line() -> None:
    @contextlib.contextmanager
    def function() -> Iterator[Warehouse]:
        yield Warehouse()

    with pytest.raises(HandlerError, match=rf"^{re.escape(__file__)}:\d+: resource function: must be"):
        resource(function)  # type: ignore[arg-type]


def test_a_name_that_does_not_exist_is_told_when_it_is_read() -> None:
    with pytest.raises(HandlerError) as caught:
        _ = nowhere.provides
    assert caught.value.problems == (
        (
            f"{nowhere.location}: resource nowhere: its annotations cannot be read: name 'Nowhere' is not "
            f"defined; define or import it in {__name__}"
        ),
    )


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(
            _returns, "must be a generator function; yield the resource once", id="one that returns"
        ),
        pytest.param(
            _coroutine, "must be a generator function; yield the resource once", id="one that is awaited"
        ),
        pytest.param(
            _bare, "annotate what it yields, as in -> AsyncIterator[Warehouse]", id="one without annotation"
        ),
        pytest.param(
            _without_brackets,
            "annotate what it yields, as in -> AsyncIterator[Warehouse]",
            id="one that does not say of what",
        ),
        pytest.param(
            _collects,
            "annotate what it yields, as in -> AsyncIterator[Warehouse]",
            id="a list",
        ),
    ],
)
def test_what_cannot_be_a_resource_is_refused(make: Callable[[], Any], problem: str) -> None:
    function = make()
    with pytest.raises(HandlerError) as caught:
        resource(function)
    line = function.__code__.co_firstlineno
    assert caught.value.problems == (f"{__file__}:{line}: resource function: {problem}",)


class Needy:
    def __init__(  # type: ignore[no-untyped-def]  # as a team may write it
        self,
        warehouse: Warehouse,
        untyped,  # noqa: ANN001 - that is the point
        size: int = 3,
        *rest: int,
        quick: bool,
        **more: int,
    ) -> None:
        pass


@dataclasses.dataclass
class Declared:
    warehouse: Warehouse


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(warehouse.function, {"settings": Settings}, id="of a function"),
        pytest.param(
            Needy.__init__,
            {"warehouse": Warehouse, "untyped": None, "quick": bool},
            id="of a method, but not self, nor what has a default",
        ),
        pytest.param(Declared.__init__, {"warehouse": Warehouse}, id="of a dataclass"),
        pytest.param(mailer.function, {}, id="none, and not what it returns"),
    ],
)
def test_parameters_are_found_by_their_annotations(function: Any, expected: dict[str, Any]) -> None:
    assert parameters(function) == expected


def test_resources_that_need_each_other_are_a_circle() -> None:
    @resource
    def egg(hen: Warehouse) -> Iterator[Mailer]:
        yield Mailer()

    @resource
    def hen(egg: Mailer) -> Iterator[Warehouse]:
        yield Warehouse()

    assert circle((egg, hen)) == (egg, hen)
    assert circle((cold, egg, hen)) == (egg, hen)
    assert circle((warehouse, cold, mailer)) == ()


@pytest.mark.parametrize(
    ("name", "wanted", "among", "expected"),
    [
        pytest.param("any", Warehouse, (mailer, warehouse), warehouse, id="by its type"),
        pytest.param(
            "any", Warehouse, (cold, warehouse), warehouse, id="the type itself before a kind of it"
        ),
        pytest.param("any", Warehouse, (cold, mailer), cold, id="a kind of it where that is all there is"),
        pytest.param("any", ColdWarehouse, (warehouse,), None, id="never what is more general"),
        pytest.param("any", Mailer, (mailer, other_mailer), None, id="not one of two"),
        pytest.param(
            "other_mailer", Mailer, (mailer, other_mailer), other_mailer, id="but the one of that name"
        ),
        pytest.param("mailer", Warehouse, (mailer,), None, id="the name alone says nothing"),
        pytest.param("any", list[int], (mailer, sizes), sizes, id="a generic type"),
        pytest.param("any", list[str], (mailer, sizes), None, id="another generic type"),
        pytest.param("any", Warehouse, (), None, id="nothing where there is nothing"),
        pytest.param("any", None, (mailer,), None, id="nothing where nothing is asked for"),
    ],
)
def test_a_provider_is_the_only_one_of_its_type(
    name: str, wanted: Any, among: tuple[Resource[Any], ...], expected: Resource[Any] | None
) -> None:
    assert provider(name, wanted, among) is expected


def test_a_resource_of_messages_brings_what_no_module_has() -> None:
    def opened() -> Iterator[int]:
        yield 1

    def session(opened: int) -> Iterator[str]:
        yield str(opened)

    pool = Resource(opened)
    brings = Resource(session, "message", brings=(pool,))
    assert with_brought((), [brings, brings]) == (pool,)
    assert with_brought((pool,), [brings]) == (pool,)

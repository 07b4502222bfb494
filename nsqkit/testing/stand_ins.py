"""Stand-ins: values that a test provides in place of resources."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nsqkit.handler.resources import Resource, parameters, provider, resource
from nsqkit.handler.spec import HandlerSpec
from nsqkit.testing.errors import HarnessError


def with_stand_ins(
    specs: Sequence[HandlerSpec], known: Sequence[Resource[Any]], stand_ins: Mapping[Any, object]
) -> tuple[Resource[Any], ...]:
    """Return the resources, with a stand-in in place of each that provides the same type.

    Args:
        specs: The handlers.
        known: The resources of the handlers' modules.
        stand_ins: Values by the type that handlers or resources ask for.

    Raises:
        HarnessError: If no handler and no resource asks for one of the types.
    """
    kept = [each for each in known if each.provides not in stand_ins]
    given = [stand_in(kind, value) for kind, value in stand_ins.items()]
    wanted = [
        *(spec.handler.__init__ for spec in specs if spec.handler.__init__ is not object.__init__),
        *(each.function for each in kept),
    ]
    asked = [each for function in wanted for each in parameters(function).items()]
    for each in given:
        if not any(provider(name, kind, [each]) for name, kind in asked):
            kind = getattr(each.provides, "__name__", each.provides)
            raise HarnessError(f"resources={{{kind}: …}}: no handler and no resource asks for {kind}")
    return (*kept, *given)


def stand_in(kind: Any, value: object, name: str = "stand_in") -> Resource[Any]:
    """Return a resource that yields a value.

    Args:
        kind: The type by which it is asked for.
        value: The value.
        name: Name of the resource, which decides among several of one type.
    """

    def given() -> Iterator[Any]:
        yield value

    given.__name__ = name
    given.__annotations__["return"] = Iterator[kind]
    return resource(given)

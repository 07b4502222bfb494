"""Outbound: a route from NSQ to Kafka or RabbitMQ, as a handler that waits until its broker confirms."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from nsqkit.bridge.bodies import record_of
from nsqkit.bridge.opened_target import OpenedTarget
from nsqkit.bridge.ports import RecordTarget
from nsqkit.bridge.route import Route
from nsqkit.errors import RecordRefusedError
from nsqkit.events.codec.binary import WholeBody
from nsqkit.events.types import event
from nsqkit.handler.context import Context
from nsqkit.handler.handler import Handler
from nsqkit.handler.resources import Resource
from nsqkit.policy.outcome import DeadLetter
from nsqkit.policy.retry import RetryPolicy
from nsqkit.telemetry import logs

MakeTarget = Callable[[Route], RecordTarget]


@event("nsqkit.bridge.message", version=1, codec=WholeBody())
@dataclass(frozen=True)
class Message:
    """A message of NSQ, whatever is in it.

    Args:
        body: Its bytes.
    """

    body: bytes


def handler_of(route: Route, make_target: MakeTarget) -> tuple[type[Handler[Any]], Resource[Any]]:
    """Return the handler of a route, and the resource that opens and closes its target.

    Args:
        route: A route from NSQ.
        make_target: Makes its target.

    Raises:
        HandlerError: If a value of the route is not one that handlers accept.
    """

    class Target(OpenedTarget):
        """The target of this route; the resources of a worker are found by their types."""

    async def target() -> AsyncIterator[Target]:
        opened = Target(route, make_target(route), logs.get_logger())
        await opened.open()
        try:
            yield opened
        finally:
            await opened.close()

    class Outbound(
        Handler[Message],
        name=route.name,
        topic=route.topic,
        channel=route.nsq.channel,
        max_in_flight=route.max_in_flight,
        timeout_s=route.timeout_s,
        on_unknown="dead_letter",
        retry=RetryPolicy(
            max_attempts=route.max_attempts,
            on={RecordRefusedError: DeadLetter(f"refused by {route.target.label}")},
        ),
    ):
        """Writes each message to the target, and waits until its broker has confirmed it."""

        def __init__(self, target: Target) -> None:
            self._target = target

        async def handle(self, event: Message, ctx: Context) -> None:  # noqa: ARG002 - a handler's
            await self._target.send(record_of(event.body, route))

    return Outbound, Resource(target, figures=Target.figures)

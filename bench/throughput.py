"""Throughput: every consumer handles the same orders from a full channel, round by round."""

from collections.abc import Sequence
from typing import Any

from bench.broker import CHANNEL, Broker
from bench.clients.tally import Plan
from bench.orders import Orders
from bench.programs import Program, ProgramError
from bench.rounds import interleaved, left_out

MIB = 1 << 20
NOT_COUNTED = 1000
"""Additional orders after the last counted one: nsqd buffers the end until a timer of the client fires."""


def measure(
    broker: Broker, orders: Orders, *, messages: int, rounds: int, programs: Sequence[Program], say: Any
) -> dict[str, Any]:
    """Measure rate, CPU and memory of each consumer in each round.

    Args:
        broker: Running nsqd.
        orders: Orders to publish.
        messages: Messages per consumer and round.
        rounds: Number of rounds; each round measures all consumers.
        programs: Consumers to measure.
        say: Receives lines about the progress.
    """
    bodies = orders.first(messages + NOT_COUNTED)

    def measured(program: Program) -> dict[str, float]:
        one = consumed(broker, program, bodies, are_bare=orders.are_bare)
        say(f"  {program.name:<26}{one['messages_per_s']:>10,.0f} messages/s")
        return one

    found = interleaved(programs, rounds, measured)
    return {
        "messages": messages,
        "rounds": rounds,
        "orders": orders.about(messages),
        "left_out": left_out(programs, found),
        "clients": [
            {"name": program.name, "does": program.does, "rounds": each} for program, each in found.items()
        ],
    }


def consumed(broker: Broker, program: Program, bodies: list[bytes], *, are_bare: bool) -> dict[str, float]:
    """Return messages per second, CPU and memory of a consumer for all counted bodies.

    Raises:
        ProgramError: If it fails, or did not finish all messages that it counted.
    """
    count = len(bodies) - NOT_COUNTED
    with broker.topic("throughput", bodies) as topic:
        broker.until_depth(topic, len(bodies))
        broker.collect_garbage()
        plan = Plan(address=broker.tcp, topics=(topic,), count=count, channel=CHANNEL, is_bare=are_bare)
        answer = program.run(plan)
        left = broker.left(topic)
    if left > NOT_COUNTED + program.max_in_flight:  # the last FINs may be lost at the end
        raise ProgramError(f"{program.name} left {left} of {count} messages unfinished")
    return {
        "messages_per_s": (count - 1) / answer["seconds"],
        "cpu_us": answer["cpu_s"] / (count - 1) * 1e6,
        "max_rss_mib": answer["max_rss_bytes"] / MIB,
    }

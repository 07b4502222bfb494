"""Throughput: every consumer handles the same orders from a full channel, round by round."""

import sys
from collections.abc import Sequence
from typing import Any

from bench.broker import CHANNEL, Broker
from bench.clients.tally import Plan
from bench.orders import Orders
from bench.programs import CONSUMERS, Program, ProgramError, chosen, left_out

MIB = 1 << 20
NOT_COUNTED = 1000
"""Additional orders after the last counted one: nsqd buffers the end until a timer of the client fires."""


def measure(
    broker: Broker,
    orders: Orders,
    *,
    messages: int,
    rounds: int,
    clients: Sequence[str] = (),
    say: Any = print,
) -> dict[str, Any]:
    """Measure rate, CPU and memory of each consumer in each round.

    Args:
        broker: Running nsqd.
        orders: Orders to publish.
        messages: Messages per consumer and round.
        rounds: Number of rounds; each round measures all consumers.
        clients: Names of the consumers to measure; empty for all.
        say: Receives lines about the progress.
    """
    programs = chosen(CONSUMERS, clients)
    found: dict[str, list[dict[str, float]]] = {program.name: [] for program in programs}
    bodies = orders.first(messages + NOT_COUNTED)
    for number in range(rounds):
        for program in list(programs):
            try:
                one = consumed(broker, program, bodies, f"throughput-{number}")
            except ProgramError as error:
                print(f"bench: {error}", file=sys.stderr)
                programs.remove(program)
                del found[program.name]
                continue
            found[program.name].append(one)
            say(f"  round {number + 1} {program.name:<26}{one['messages_per_s']:>10,.0f} messages/s")
    return {
        "messages": messages,
        "rounds": rounds,
        "orders": orders.about(messages),
        "left_out": left_out(CONSUMERS),
        "clients": [
            {"name": program.name, "does": program.does, "rounds": found[program.name]}
            for program in CONSUMERS
            if program.name in found
        ],
    }


def consumed(broker: Broker, program: Program, bodies: list[bytes], topic: str) -> dict[str, float]:
    """Return messages per second, CPU and memory of a consumer for all counted bodies.

    Raises:
        ProgramError: If it fails, or did not finish all messages that it counted.
    """
    count = len(bodies) - NOT_COUNTED
    with broker.topic(topic, bodies):
        broker.until_depth(topic, len(bodies))
        broker.collect_garbage()
        plan = Plan(address=broker.tcp, topics=(topic,), count=count, channel=CHANNEL)
        answer = program.run(plan)
        stats = broker.channel(topic)
    left = stats["depth"] + stats["in_flight_count"] + stats["deferred_count"]
    if left > NOT_COUNTED + program.max_in_flight:  # the last FINs may be lost at the end
        raise ProgramError(f"{program.name} left {left} of {count} messages unfinished")
    return {
        "messages_per_s": (count - 1) / answer["seconds"],
        "cpu_us": answer["cpu_s"] / (count - 1) * 1e6,
        "max_rss_mib": answer["max_rss_bytes"] / MIB,
    }

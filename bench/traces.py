"""Traces: what spans cost a message, by the share of messages that is sampled."""

from typing import Any

from bench.broker import Broker
from bench.orders import Orders
from bench.programs import TRACED, Program
from bench.rounds import interleaved, left_out
from bench.throughput import NOT_COUNTED, consumed

MOST_MESSAGES = 10_000
"""A sampled message takes many times as long as another: more would take minutes."""


def measure(broker: Broker, orders: Orders, *, messages: int, rounds: int, say: Any) -> dict[str, Any]:
    """Measure rate and CPU of a worker with each share of sampled messages, in each round.

    Args:
        broker: Running nsqd.
        orders: Orders to publish; they have no trace context, so the worker decides.
        messages: Messages per program and round, at most ``MOST_MESSAGES``.
        rounds: Number of rounds; each round measures all programs.
        say: Receives lines about the progress.
    """
    count = min(messages, MOST_MESSAGES)
    bodies = orders.first(count + NOT_COUNTED)

    def measured(program: Program) -> dict[str, float]:
        one = consumed(broker, program, bodies, are_bare=orders.are_bare)
        say(f"  {program.name:<26}{one['cpu_us']:>10,.1f} µs CPU per message")
        return one

    found = interleaved(TRACED, rounds, measured)
    return {
        "messages": count,
        "rounds": rounds,
        "left_out": left_out(TRACED, found),
        "clients": [
            {"name": program.name, "does": program.does, "rounds": each} for program, each in found.items()
        ],
    }

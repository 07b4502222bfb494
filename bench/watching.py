"""Watching: what log lines and scrapes cost a worker of which some messages fail."""

from typing import Any

from bench.broker import Broker
from bench.orders import Orders
from bench.programs import WATCHED, Program
from bench.rounds import interleaved, left_out
from bench.throughput import NOT_COUNTED, consumed

MOST_TIMES = 3
"""Times the messages of other sections: the worker must run for several scrapes."""


def measure(broker: Broker, orders: Orders, *, messages: int, rounds: int, say: Any) -> dict[str, Any]:
    """Measure rate and CPU of a worker that is watched and of one that is not, in each round.

    Args:
        broker: Running nsqd.
        orders: Orders to publish; one in twenty fails once.
        messages: A third of the messages per program and round.
        rounds: Number of rounds; each round measures both programs.
        say: Receives lines about the progress.
    """
    count = messages * MOST_TIMES
    bodies = orders.first(count + NOT_COUNTED)

    def measured(program: Program) -> dict[str, float]:
        one = consumed(broker, program, bodies, are_bare=orders.are_bare)
        say(f"  {program.name:<26}{one['messages_per_s']:>10,.0f} messages/s")
        return one

    found = interleaved(WATCHED, rounds, measured)
    return {
        "messages": count,
        "rounds": rounds,
        "left_out": left_out(WATCHED, found),
        "clients": [
            {"name": program.name, "does": program.does, "rounds": each} for program, each in found.items()
        ],
    }

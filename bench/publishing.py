"""Publishing: the rate of confirmed publishes, one command each or in batches."""

from typing import Any

from bench.broker import Broker
from bench.clients.tally import Plan
from bench.programs import PUBLISHERS, Program, ProgramError
from bench.rounds import interleaved, left_out


def measure(broker: Broker, orders_file: str, *, messages: int, rounds: int, say: Any) -> dict[str, Any]:
    """Measure the rate and CPU of each publisher in each round.

    Args:
        broker: Running nsqd.
        orders_file: File with the orders to publish.
        messages: Messages per publisher and round.
        rounds: Number of rounds; each round measures all publishers.
        say: Receives lines about the progress.
    """

    def measured(program: Program) -> dict[str, float]:
        one = published(broker, program, orders_file, messages)
        say(f"  {program.name:<26}{one['messages_per_s']:>10,.0f} messages/s")
        return one

    found = interleaved(PUBLISHERS, rounds, measured)
    return {
        "messages": messages,
        "rounds": rounds,
        "left_out": left_out(PUBLISHERS, found),
        "clients": [
            {"name": program.name, "does": program.does, "rounds": each} for program, each in found.items()
        ],
    }


def published(broker: Broker, program: Program, orders_file: str, count: int) -> dict[str, float]:
    """Return messages per second and CPU microseconds per message of a publisher.

    Raises:
        ProgramError: If it fails, or nsqd has not received all messages.
    """
    with broker.topic("publish") as topic:
        broker.collect_garbage()
        plan = Plan(address=broker.tcp, topics=(topic,), count=count, orders=orders_file)
        answer = program.run(plan)
        arrived = broker.channel(topic)["message_count"] - 1  # the first one opened the connection
    if arrived != count:
        raise ProgramError(f"{program.name} published {count} messages, and nsqd has {arrived}")
    return {"messages_per_s": count / answer["seconds"], "cpu_us": answer["cpu_s"] / count * 1e6}

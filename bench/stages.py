"""Profile by stage: samples nsqkit on a real nsqd, some hundred times per CPU second."""

from bench.broker import CHANNEL, Broker
from bench.clients.sampler import ELSEWHERE, STAGES
from bench.clients.tally import Plan
from bench.orders import Orders
from bench.programs import SAMPLED
from bench.report import Table
from bench.throughput import NOT_COUNTED

_ORDER = (*(stage for stage, _ in STAGES), ELSEWHERE)


def measure(broker: Broker, orders: Orders, messages: int) -> str:
    """Profile one worker, and return its CPU time by stage and by function.

    Args:
        broker: Running nsqd.
        orders: Orders to publish.
        messages: Number of messages to handle.
    """
    topic = "profile"
    with broker.topic(topic, orders.first(messages + NOT_COUNTED)):
        broker.collect_garbage()
        answer = SAMPLED.run(Plan(address=broker.tcp, topics=(topic,), count=messages, channel=CHANNEL))
    stages = dict(answer["stages"])
    return shown(stages, answer["functions"], answer["cpu_s"] / messages * 1e6)


def shown(stages: dict[str, int], functions: list[tuple[str, int]], cpu_us: float) -> str:
    """Return two tables, by stage and by function.

    Args:
        stages: Number of samples of each stage.
        functions: Most frequent functions, with their samples.
        cpu_us: CPU microseconds per message, sampling included.
    """
    looks = max(sum(stages.values()), 1)
    by_stage = [(stage, stages.get(stage, 0)) for stage in _ORDER if stage in stages]
    header = ("share", "µs/message")
    found = (
        (f"By stage, of {cpu_us:.1f} µs CPU per message", "stage", by_stage),
        ("By function", "function", functions),
    )
    texts = [
        Table("", title, (what, *header), tuple(_row(each, looks, cpu_us) for each in rows)).text()
        for title, what, rows in found
    ]
    return "\n\n".join([*texts, f"{looks:,} samples, start and end included"])


def _row(each: tuple[str, int], looks: int, cpu_us: float) -> tuple[str, str, str]:
    name, found = each
    return name, f"{found / looks * 100:.1f} %", f"{found / looks * cpu_us:.2f}"

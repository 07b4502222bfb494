"""Checkup: what a worker is like when all faults of the soak are over, and what of that must not be."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import fetch
from tests.chaos.accounts import RECEIVED, total
from tests.chaos.memory import MIB
from tests.chaos.troubles import Trouble
from tests.chaos.vitals import Vitals, grown, parts
from tests.chaos.workers import Worker
from tests.waiting import PATIENCE_S, until

_FILE = "soak.json"
_DIED = "background_task_died"
_LONG_MINUTES = 10.0
MAX_GROWTH_BYTES = 10 * MIB
MAX_GROWTH_IN_SHORT_BYTES = 20 * MIB
"""In a few minutes the heap still fills up to what the faults need."""
MAX_LINES_PER_MINUTE = 300
"""Lines of the log that are about no single message."""


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One worker at the end.

    Args:
        name: What it is called.
        code: Its exit code before SIGTERM; None if it still runs, as it should.
        answers: What is not OK of ``/healthz`` and ``/readyz``, by path.
        died: Background tasks that died, a line each.
        stray_lines: Lines of its log that are no JSON.
        lines: How many lines about no single message.
        message_lines: How many lines about messages.
        received: Its deliveries.
        second: Its vitals in the second fifth of the time.
        last: In the last.
    """

    name: str
    code: int | None
    answers: Mapping[str, str]
    died: Sequence[str]
    stray_lines: Sequence[str]
    lines: int
    message_lines: int
    received: int
    second: Vitals
    last: Vitals


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledgers of a soak do not say.

    Args:
        minutes: How long faults began.
        seed: Of all draws.
        troubles: What was carried out.
        findings: What a fault found at once.
        uncollected: Dead letters that are left after they were collected, by nsqd.
        workers: Those that ran from the start to the end.
    """

    minutes: float
    seed: int
    troubles: Sequence[Trouble]
    findings: Sequence[str]
    uncollected: Mapping[str, int]
    workers: Sequence[WorkerRecord]

    def save(self, folder: Path) -> None:
        """Write it beside the ledgers."""
        (folder / _FILE).write_text(json.dumps(asdict(self), indent=1))


def load(folder: Path) -> Record | None:
    """Read what was saved there; None if no soak was."""
    if not (folder / _FILE).exists():
        return None
    found = json.loads((folder / _FILE).read_text())
    found["troubles"] = [Trouble(*each) for each in found["troubles"]]
    found["workers"] = [
        WorkerRecord(**{**each, "second": Vitals(*each["second"]), "last": Vitals(*each["last"])})
        for each in found["workers"]
    ]
    return Record(**found)


async def check_up(worker: Worker, samples: Sequence[Vitals]) -> WorkerRecord:
    """Look at one worker while nothing is wrong any more. It has a minute to be ready again."""
    code = worker.program.code
    answers: dict[str, str] = {}
    received = 0
    if code is None:
        for path in ("/healthz", "/readyz"):
            if problem := await _refusal(worker.admin_address, path):
                answers[path] = problem
        received = total(
            (await fetch(worker.admin_address, "/metrics", timeout_s=PATIENCE_S)).decode(), RECEIVED
        )
    events, stray_lines = read_log(worker.program.log.read_text(errors="replace").splitlines())
    second, last = parts(samples)
    return WorkerRecord(
        name=worker.program.name,
        code=code,
        answers=answers,
        died=[f"{each['task']}: {each['error']}" for each in events if each["event"] == _DIED],
        stray_lines=stray_lines,
        lines=sum("message_id" not in each for each in events),
        message_lines=sum("message_id" in each for each in events),
        received=received,
        second=second,
        last=last,
    )


async def _refusal(address: str, path: str) -> str:
    """Return why a page does not answer 200, or nothing, after a minute's patience."""
    problem = ""

    async def is_ok() -> bool:
        nonlocal problem
        try:
            await fetch(address, path)
        except (ConnectionLostError, RefusedError) as error:
            problem = str(error)
            return False
        problem = ""
        return True

    try:
        await until(is_ok)
    except AssertionError:
        return problem
    return ""


def read_log(lines: Iterable[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of a worker's log that are JSON, decoded, and the others."""
    events: list[dict[str, Any]] = []
    stray: list[str] = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            events.append(event)
        else:
            stray.append(line)
    return events, stray


def broken(record: Record) -> Iterator[str]:
    """Yield what is not as it should be after a soak; nothing where all is well."""
    yield from record.findings
    for node, count in record.uncollected.items():
        if count:
            yield f"{count} dead letters are left on {node} after `nsqkit dead collect`"
    for worker in record.workers:
        yield from (f"{worker.name}: {line}" for line in _broken(worker, record.minutes))


def _broken(worker: WorkerRecord, minutes: float) -> Iterator[str]:
    if worker.code is not None:
        yield f"it ended by itself, with {worker.code}"
    yield from (f"{path}: {answer}" for path, answer in worker.answers.items())
    yield from (f"a background task has died: {each}" for each in dict.fromkeys(worker.died))
    if worker.stray_lines:
        yield f"{len(worker.stray_lines)} lines of its log are no JSON, first {worker.stray_lines[0][:200]!r}"
    most = MAX_LINES_PER_MINUTE * max(1.0, minutes)
    if worker.lines > most:
        yield f"it wrote {worker.lines} lines about no message, of at most {most:.0f}"
    if worker.message_lines > worker.received:
        yield f"it wrote {worker.message_lines} lines about {worker.received} deliveries"
    is_long = minutes >= _LONG_MINUTES
    yield from grown(worker.second, worker.last, MAX_GROWTH_BYTES if is_long else MAX_GROWTH_IN_SHORT_BYTES)

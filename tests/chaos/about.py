"""About: what is known of one phase beside its ledgers, as the file that the audit reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "phase.json"


@dataclass(frozen=True, slots=True)
class About:
    """What the ledgers of a phase do not say.

    Args:
        name: Of the phase.
        faults: How many of each sort were carried out.
        planned: How many should have been.
        unconfirmed: Orders that were published without an OK.
        left: Messages that nsqd still had when the phase was given up; 0 where it came to its end.
        timeouts: nsqd's own count since it was last started.
        exit_codes: Exit code of each worker that got SIGTERM, by name; None for one that did not end.
        crashes: How many workers ended by themselves.
        unexpected: Those of them that should not have, a line each.
        miscounts: Workers whose counts did not add up at the end, a line each.
        may_leave: Whether handlers hang in threads, so that a worker may leave a message to its lease.
        is_clean: As in the phase.
        max_held: As in the phase.
        max_running: As in the phase.
        seconds: How long it took.
    """

    name: str
    faults: Mapping[str, int]
    planned: Mapping[str, int]
    unconfirmed: int
    left: int
    timeouts: int
    exit_codes: Mapping[str, int | None]
    crashes: int
    unexpected: tuple[str, ...]
    miscounts: tuple[str, ...]
    may_leave: bool
    is_clean: bool
    max_held: int
    max_running: Mapping[str, int]
    seconds: float

    def save(self, folder: Path) -> None:
        """Write it beside the ledgers."""
        (folder / _FILE).write_text(json.dumps(asdict(self), indent=1))


def load(folder: Path) -> About:
    """Read what was saved there."""
    return About(**json.loads((folder / _FILE).read_text()))


def folders(folder: Path) -> list[Path]:
    """Return the folders of all phases, in the order in which they were run."""
    return sorted((path.parent for path in folder.glob(f"*/{_FILE}")), key=lambda path: path.name)

"""The orders that the benchmark sends: real ones, in their order; only those that the sample type takes."""

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from handlers.orders import OrderCreated

SAMPLE = Path(__file__).parents[1] / "examples" / "data" / "orders.jsonl"


class _Envelope(msgspec.Struct):
    data: OrderCreated


@dataclass(frozen=True)
class Orders:
    """Orders as published bodies.

    Args:
        bodies: Each of them once.
    """

    bodies: tuple[bytes, ...]

    @classmethod
    def read(cls, file: Path) -> "Orders":
        """Return the orders in a file of JSON lines that the sample type takes."""
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            sys.exit(f"bench: {file}: {error.strerror}; scripts/make-orders --all FILE makes it")
        return cls(tuple(filter(_is_valid, lines)))

    def first(self, count: int) -> list[bytes]:
        """Return so many of them, from the start again where there are fewer."""
        whole, rest = divmod(count, len(self.bodies))
        return [*self.bodies * whole, *self.bodies[:rest]]

    def write(self, file: Path, count: int) -> None:
        """Write the first *count* of them to a file, one a line."""
        file.write_bytes(b"\n".join(self.first(count)) + b"\n")

    def about(self, count: int) -> dict[str, float]:
        """Return how many different ones there are among the first *count*, and their mean size."""
        chosen = self.first(count)
        return {
            "distinct": min(count, len(self.bodies)),
            "mean_bytes": round(sum(map(len, chosen)) / max(len(chosen), 1)),
        }


def _is_valid(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=_Envelope)
    except msgspec.ValidationError:
        return False
    return True

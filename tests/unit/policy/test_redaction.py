"""Redaction: what looks like a secret is masked, what does not stays readable, and it never takes long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.redaction import MASK, describe, redact, redact_json

WORDS = st.text("abcdefghijklmnopqrstuvwxyz ", max_size=200)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("password=hunter2", "password=[redacted]", id="a password"),
        pytest.param("PASSWD: hunter2, next", "PASSWD: [redacted], next", id="whatever its case"),
        pytest.param("password=two words", "password=[redacted]", id="a password of several words"),
        pytest.param("db_password = hunter2", "db_password = [redacted]", id="a prefixed password"),
        pytest.param("secret_key=abc;x=1", "secret_key=[redacted];x=1", id="only up to the next field"),
        pytest.param("a=1&token=abc&b=2", "a=1&token=[redacted]&b=2", id="a token in a query"),
        pytest.param('{"api_key": "a b c"}', '{"api_key": [redacted]}', id="a quoted value with spaces"),
        pytest.param("{'api-key': 'a b c'}", "{'api-key': [redacted]}", id="a value in single quotes"),
        pytest.param("apikey=abc", "apikey=[redacted]", id="a key in one word"),
        pytest.param("Authorization: Bearer abc.def", "Authorization: [redacted]", id="a bearer token"),
        pytest.param("authorization: basic dXNlcg==", "authorization: [redacted]", id="basic credentials"),
        pytest.param("authorization=bearer", "authorization=[redacted]", id="a scheme without a value"),
        pytest.param("secret=a, token=b", "secret=[redacted], token=[redacted]", id="two in one text"),
        pytest.param("password\n=\nx", "password\n=\n[redacted]", id="over several lines"),
        pytest.param(
            f"token{'x' * 40}=abc", f"token{'x' * 40}=[redacted]", id="a name that goes on for 40 characters"
        ),
        pytest.param(f"token{'x' * 41}=abc", f"token{'x' * 41}=abc", id="but not for more"),
        pytest.param("pg://me:pw@db:5432/x", "pg://[redacted]@db:5432/x", id="credentials in a URL"),
        pytest.param("http://a@b@c/d", "http://[redacted]@b@c/d", id="credentials up to the first at"),
        pytest.param("http://host/a@b", "http://host/a@b", id="an at in a path is not of the credentials"),
        pytest.param("mail bob.x+y@ex-a.co.uk now", "mail [redacted] now", id="a mail address"),
        pytest.param(f"{'b' * 64}@example.org", MASK, id="a mail address of the longest kind"),
        pytest.param("bob@localhost", "bob@localhost", id="a host without a domain is not a mail address"),
        pytest.param("card 4111 1111 1111 1111.", "card [redacted].", id="a card number with spaces"),
        pytest.param("4111-1111-1111-1", MASK, id="13 digits with dashes"),
        pytest.param("1234567890123456789", MASK, id="19 digits"),
        pytest.param("123456789012", "123456789012", id="12 digits are an id"),
        pytest.param("12345678901234567890", "12345678901234567890", id="20 digits are an id"),
        pytest.param("x1234567890123", "x1234567890123", id="digits inside a word are an id"),
        pytest.param("order 17 of customer 42", "order 17 of customer 42", id="plain text stays"),
        pytest.param("the token was wrong", "the token was wrong", id="the word alone stays"),
        pytest.param("", "", id="nothing stays nothing"),
    ],
)
def test_redaction(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        pytest.param("abcdef", 6, "abcdef", id="a text of the limit stays"),
        pytest.param("abcdefg", 6, "abcde…", id="a longer one is cut and says so"),
        pytest.param("ab", 1, "…", id="the least limit leaves the sign"),
        pytest.param("password=" + "x" * 90, 20, "password=[redacted]", id="masked before it is cut"),
    ],
)
def test_a_text_is_cut_at_the_limit(text: str, limit: int, expected: str) -> None:
    assert redact(text, limit=limit) == expected


def test_the_limit_is_1000_characters_unless_told_otherwise() -> None:
    assert len(redact("x" * 1000)) == 1000
    assert redact("x" * 1001) == f"{'x' * 999}…"


def test_only_the_beginning_of_an_endless_text_is_looked_at() -> None:
    """Ten times the limit, so that what takes time is bounded by it."""
    assert redact("token=" + "x" * 993 + " z", limit=100) == "token=[redacted] "
    assert redact("token=" + "x" * 992 + " z", limit=100) == "token=[redacted] z"


@pytest.mark.parametrize(
    "unit",
    [
        "token-",
        "a-",
        "a.",
        "a@",
        "@",
        "1 ",
        "://",
        "http://",
        "a://b",
        'token="',
        "token ",
        "-",
        "bearer ",
        "x" * 70,
    ],
)
def test_no_text_takes_long(unit: str) -> None:
    """A message's own words come here, on the event loop; a slow pattern would hang this test."""
    redact(unit * 200_000, limit=10_000)


@given(WORDS, WORDS, st.text("abcdefXYZ0123456789!$%", min_size=8, max_size=40))
def test_a_password_never_shows_wherever_it_stands(before: str, behind: str, secret: str) -> None:
    assert secret not in redact(f"{before} password={secret} {behind}")


@given(st.text(max_size=300), st.integers(1, 100))
def test_a_text_is_never_longer_than_the_limit(text: str, limit: int) -> None:
    assert len(redact(text, limit=limit)) <= limit


@given(WORDS)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_half_of_a_surrogate_pair_is_escaped() -> None:
    assert redact("a\udc80b") == "a\\udc80b"


@given(st.text(st.characters(categories=["Cs", "L", "P"])))
def test_every_text_can_be_written_as_utf8(text: str) -> None:
    redact(text).encode()


def test_an_error_is_described_by_its_class_and_redacted_text() -> None:
    assert describe(KeyError("sku")) == "KeyError: 'sku'"
    assert describe(ValueError("password=hush")) == "ValueError: password=[redacted]"


def test_an_error_that_cannot_tell_its_text_is_described_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise LookupError

    assert describe(MuteError()) == "MuteError: no text: str() raised LookupError"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"password": "x", "n": 1}, {"password": MASK, "n": 1}, id="behind the name of a secret"),
        pytest.param({"API-Key": {"a": [1]}}, {"API-Key": MASK}, id="whatever stands there"),
        pytest.param({"db_passwd_2": None}, {"db_passwd_2": MASK}, id="a name with more in it"),
        pytest.param(
            [{"name": "DB_PWD", "value": "x"}, {"name": "n", "value": "y"}],
            [{"name": "DB_PWD", "value": MASK}, {"name": "n", "value": "y"}],
            id="a secret's name and value",
        ),
        pytest.param(
            {"a": '{"b": "{\\"token\\": \\"x y\\"}"}'},
            {"a": '{"b": "{\\"token\\": [redacted]}"}'},
            id="JSON in JSON",
        ),
        pytest.param({"to": ["bob@example.org", 7]}, {"to": [MASK, 7]}, id="a mail address in a list"),
        pytest.param({"a": {"b": "token=x y"}}, {"a": {"b": f"token={MASK} y"}}, id="a text deep inside"),
        pytest.param({"bob@example.org": 1}, {MASK: 1}, id="a name that is one"),
        pytest.param("x" * 5000, "x" * 5000, id="long texts are kept whole"),
        pytest.param("://a@" * 3000, f"://{MASK}@" * 3000, id="however much they grow"),
        pytest.param("\udc80" * 3000, "\\udc80" * 3000, id="and what is escaped grows most"),
        pytest.param("", "", id="an empty text"),
        pytest.param(4111111111111111, MASK, id="a card's number"),
        pytest.param(2000000000000, MASK, id="13 digits"),
        pytest.param(9999999999999999999, MASK, id="19 digits from the top"),
        pytest.param(999999999999, 999999999999, id="12 digits"),
        pytest.param(20000000000000000000, 20000000000000000000, id="20 digits"),
        pytest.param(1767225600000, 1767225600000, id="milliseconds since 1970"),
        pytest.param(1767225600000000000, 1767225600000000000, id="nanoseconds since 1970"),
        pytest.param(-4111111111111111, -4111111111111111, id="below 0"),
        pytest.param(4111111111111111.0, 4111111111111111.0, id="a fraction"),
        pytest.param([True, None, 1.5], [True, None, 1.5], id="what holds no secret"),
    ],
)
def test_redaction_of_json(value: object, expected: object) -> None:
    assert redact_json(value) == expected


def test_redaction_changes_nothing_in_the_value_that_is_given() -> None:
    value = {"lines": [{"token": "x"}]}
    redact_json(value)
    assert value == {"lines": [{"token": "x"}]}


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(RecursionError):
        redact_json(value)


def test_a_group_is_described_by_its_errors_the_first_ten_of_them() -> None:
    few = ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [KeyError("token=x")])])
    assert describe(few) == f"ExceptionGroup: ValueError: a; KeyError: 'token={MASK}"
    many = ExceptionGroup("g", [ValueError(str(n)) for n in range(12)])
    assert describe(many).endswith("ValueError: 8; ValueError: 9; and 2 more")

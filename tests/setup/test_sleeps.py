"""Sleeps: each one in the tests has a comment that says why there is no event to await."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
SLEEP = re.compile(r"sleep\(", re.IGNORECASE)  # asyncio's, gevent's and Go's too
COMMENT = re.compile(r"(^|\s)(#|//) (?!noqa: \w+$)")


def uncommented(text: str) -> list[int]:
    """Return the numbers of lines that sleep without a comment, behind them or on the line above."""
    lines = ["", *(line.strip() for line in text.splitlines())]
    return [
        number
        for number, line in enumerate(lines)
        if SLEEP.search(line) and not (COMMENT.search(line) or COMMENT.match(lines[number - 1]))
    ]


def test_every_sleep_has_a_comment() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{number}"
        for path in sorted(TESTS.rglob("*"))
        if path.suffix in {".py", ".js", ".go"} and path != Path(__file__)
        for number in uncommented(path.read_text())
    ]
    assert found == [], "await an event (see tests/waiting.py), or say in a comment why there is none"


def test_a_sleep_without_a_comment_is_found() -> None:
    call = "    await asyncio.sleep(1)"
    assert uncommented(f"x = 1\n{call}\n") == [2]
    assert uncommented(f"{call}  # its work\n  time.Sleep(1)") == [2]
    assert uncommented(f"{call}  # noqa: ASYNC251") == [1]
    assert uncommented(f"{call}  # noqa: ASYNC251 - its work") == []
    assert uncommented(f"  // its work\n{call}") == []

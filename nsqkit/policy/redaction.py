"""What is taken out of an error's text before it is kept or shown."""

import re

MASK = "[redacted]"
_LOOK_AHEAD = 10
# Every pattern takes linear time: the text may come from a message, and this runs on the event loop.
_SECRETS = re.compile(
    r"""(?ix)
    (?P<key>
        (?: password | passwd | secret | token | api[_-]?key | authorization ) [\w-]{0,40} ["']? \s* [=:] \s*
    )
    (?P<value> (?: (?: bearer | basic ) \s+ )? (?: "[^"]*" | '[^']*' | [^\s,;&}]+ ) )
    """,
)
_CREDENTIALS = re.compile(r"://[^/\s@]+@")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def redact(text: str, *, limit: int = 1000) -> str:
    """Return a text without what looks like a secret, and no longer than a limit.

    Passwords, tokens and keys that stand behind their names, credentials in URLs, mail addresses
    and numbers of 13 to 19 digits are masked. It is a net with holes: do not put secrets in errors.
    What UTF-8 cannot spell (half of a surrogate pair, as in file names) is escaped.

    Args:
        text: Any text, such as ``str(error)``; only ten times the limit of it is looked at.
        limit: Most characters to keep; 1 or more.
    """
    text = text[: _LOOK_AHEAD * limit].encode("utf-8", "backslashreplace").decode()
    text = _SECRETS.sub(rf"\g<key>{MASK}", text)
    text = _CREDENTIALS.sub(f"://{MASK}@", text)
    text = _EMAIL.sub(MASK, text)
    text = _CARD.sub(MASK, text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def describe(error: BaseException) -> str:
    """Return an error's class and text as one redacted line, also where it cannot tell its text."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - a class of the team's may raise anything
        text = f"its text cannot be told: {type(failure).__name__}"
    return redact(f"{type(error).__name__}: {text}")

"""What is taken out of an error's text before it is kept or shown."""

from nsqkit.policy.leaves import leaves
from nsqkit.policy.secret_rules import GROUPS, MASK, compiled, is_secret_name, names_a_secret

__all__ = ["MASK", "describe", "is_secret_name", "redact", "redact_json", "redact_whole"]

_LOOK_AHEAD = 10
_MOST_LEAVES = 10
_LONGEST_WORD = 12  # of a single word, such as the name of a topic; no rule finds a secret in it
_LONGEST_MASKED = 10  # times as long as before, at most


def redact(text: str, *, limit: int = 1000) -> str:
    """Return a text without what looks like a secret, and no longer than a limit.

    Masks values after the name of a secret, tokens and keys of well-known forms, private keys, cookies,
    credentials in addresses and on command lines, mail addresses and numbers of 13 to 19 digits. It does not
    find every secret: do not put secrets in errors.
    What UTF-8 cannot spell (half of a surrogate pair, as in file names) is escaped.

    Args:
        text: Any text, such as ``str(error)``; only ten times the limit of it is looked at.
        limit: Most characters to keep; 1 or more.
    """
    if len(text) <= min(limit, _LONGEST_WORD) and text.isalnum():
        return text
    text = text[: _LOOK_AHEAD * limit].encode(errors="backslashreplace").decode()
    lower = text.lower()
    for group_hints, rules in GROUPS:
        if _has_any(lower, group_hints):
            for hints, pattern, replacement in rules:
                if _has_any(lower, hints):
                    text = compiled(pattern).sub(replacement, text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def redact_whole(text: str) -> str:
    """Return a text of any length without what looks like a secret, as :func:`redact` does."""
    return redact(text, limit=_LONGEST_MASKED * len(text) + 1)


def redact_json(value: object) -> object:
    """Return a JSON value without what looks like a secret; its shape stays.

    What stands behind the name of a secret is masked whole; texts and names as in :func:`redact`, whatever
    their length; and whole numbers of 13 to 19 digits, unless they begin with 1: times since 1970 do.

    Args:
        value: What JSON can hold.

    Raises:
        RecursionError: If it is nested too deeply.
    """
    if isinstance(value, dict):
        if names_a_secret(value):
            return {
                redact_whole(name): MASK if name == "value" else redact_json(inner)
                for name, inner in value.items()
            }
        return {redact_whole(name): _behind(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [redact_json(each) for each in value]
    if isinstance(value, str):
        return redact_whole(value)
    return MASK if isinstance(value, int) and _is_card(value) else value


def _has_any(text: str, hints: tuple[str, ...]) -> bool:
    for hint in hints:  # several times as fast as any()
        if hint in text:
            return True
    return not hints


def _behind(name: str, value: object) -> object:
    return MASK if is_secret_name(name) else redact_json(value)


def _is_card(number: int) -> bool:
    return 10**12 <= number < 10**19 and not str(number).startswith("1")


def describe(error: BaseException) -> str:
    """Return an error's class and text as one redacted line, even if its ``str()`` raises.

    A group is described by the errors in it, the first ten of them.
    """
    if isinstance(error, BaseExceptionGroup):
        found = leaves(error)
        more = f"; and {len(found) - _MOST_LEAVES} more" if len(found) > _MOST_LEAVES else ""
        return redact(f"{type(error).__name__}: {'; '.join(map(describe, found[:_MOST_LEAVES]))}{more}")
    try:
        text = str(error)
    except BaseException as failure:  # noqa: BLE001 - a class of the team's may raise anything
        text = f"no text: str() raised {type(failure).__name__}"
    return redact(f"{type(error).__name__}: {text}")

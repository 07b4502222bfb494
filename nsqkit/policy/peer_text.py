"""Peer text: text that a peer sent, made short enough for a line of the log, an error or ``/readyz``."""

LONGEST_CHARACTERS = 500


def peer_text(text: bytes | str) -> str:
    """Return the beginning of a text on one line.

    Args:
        text: Text of any length; bytes are read as UTF-8.

    Returns:
        At most 500 characters, of which the last is an ellipsis if there are more. Characters that cannot be
        printed, such as line ends and terminal escapes, are written as Python's escapes.
    """
    if isinstance(text, bytes):
        text = text[: 4 * (LONGEST_CHARACTERS + 1)].decode(errors="replace")
    shown = text[: LONGEST_CHARACTERS + 1]
    if not shown.isprintable():
        shown = "".join(map(_printable, shown))
    return shown if len(shown) <= LONGEST_CHARACTERS else f"{shown[: LONGEST_CHARACTERS - 1]}…"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()

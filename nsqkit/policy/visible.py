"""Visible: a text as a terminal may show it. It cannot move the cursor, change colours or hide anything."""


def visible(text: str, *, keep: str = "\n\t") -> str:
    r"""Return a text whose control and format characters are written as escapes, such as ``\x1b``.

    Args:
        text: Any text, such as a name or a body that a peer sent.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode("ascii")
        for each in text
    )

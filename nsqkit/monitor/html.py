"""HTML: elements whose texts and attributes are always escaped. It knows no page."""

from html import escape


class Html(str):
    """Markup; every other text is data."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: Name of the element.
        children: Markup, and texts that are escaped.
        attributes: Attributes; a trailing ``_`` is left out, and other ``_`` are ``-``.
    """
    given = "".join(f' {_named(key)}="{escape(str(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*parts: str) -> Html:
    """Return parts one after another; texts among them are escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def _named(key: str) -> str:
    return key.rstrip("_").replace("_", "-")

"""Bearer tokens: read a token from a request's ``Authorization`` headers. It compares nothing.

Source:
    RFC 6750, section 2.1.
"""

import re
from collections.abc import Sequence

_TOKEN68 = r"[A-Za-z0-9._~+/-]+=*"
_CREDENTIALS = re.compile(rf"bearer +({_TOKEN68})", re.IGNORECASE)


def bearer_token(authorization: Sequence[str]) -> str | None:
    """Return the token of a request; None unless it has one ``Authorization`` header with just a token.

    Args:
        authorization: The values of all ``Authorization`` headers of the request.
    """
    if len(authorization) != 1:
        return None
    found = _CREDENTIALS.fullmatch(authorization[0])
    return found[1] if found else None


def token_problem(token: str) -> str:
    """Return why no client can send a token; empty if one can. The answer does not contain the token."""
    if re.fullmatch(_TOKEN68, token):
        return ""
    return "only letters of ASCII, digits and -._~+/ can be sent, and = at the end"

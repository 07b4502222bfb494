"""Control: whether a request from the monitor page may change something. It changes nothing."""

import hmac
import secrets
from typing import Final

from tornado.httputil import HTTPServerRequest

from nsqkit.admin import Access

TOKEN_HEADER: Final = "X-Nsqkit-Page"  # noqa: S105 - the name of a header
_OFF: Final = "the page is read-only beyond loopback: use nsqkit pause, nsqkit resume and nsqkit dead replay"


class Control:
    """Changes from the page of this process, on loopback only.

    A page of another origin cannot read the token, and cannot send its header without being asked for
    permission, which is never given.

    Args:
        access: Knows where the server listens.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._token = secrets.token_urlsafe()

    @property
    def token(self) -> str | None:
        """The token that the page sends with a change; None if it is read-only."""
        return self._token if self._access.is_loopback else None

    def problem(self, request: HTTPServerRequest) -> str:
        """Return why a request must not change anything; empty if it may."""
        if self.token is None:
            return _OFF
        if request.headers.get("Origin") != f"{request.protocol}://{request.host}":
            return "not from the monitor page: the Origin header is of another site"
        given = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return "the worker has restarted since the page was opened: reload the page"
        return ""

"""Access: decides whether a request to the admin port is answered. It knows no pages."""

import hmac
import ipaddress
from typing import Any, NamedTuple

from tornado.httputil import HTTPServerRequest

from nsqkit.errors import SettingsError
from nsqkit.policy.bearer import bearer_token, token_problem
from nsqkit.policy.peer_text import peer_text
from nsqkit.policy.web_host import host_problem, is_trusted_host
from nsqkit.settings.secret import secret_of
from nsqkit.settings.settings import Settings

_UNUSABLE_HINT = "the token as it was before is in effect; the file is read again at each request"
_HEALTH_ONLY_HINT = "set admin_token or admin_token_file, and send the token as Authorization: Bearer"


class Refusal(NamedTuple):
    """Why a request is not answered.

    Args:
        status: The HTTP status.
        message: One line that names what to change.
    """

    status: int
    message: str


class Access:
    """The hosts that requests may name, and the token that they must have.

    Pages of health need no token. Other pages need the token that is set; beyond loopback they are refused if
    none is set. A token in a file is read again at each request; while that fails, the one before is in
    effect.

    Args:
        settings: The settings ``admin_*`` are used.
        log: structlog logger.

    Raises:
        SettingsError: If a name or the token cannot be used.
    """

    def __init__(self, settings: Settings, log: Any) -> None:
        for name in settings.admin_hosts:
            if problem := host_problem(name):
                raise SettingsError(f"admin_hosts: {problem}")
        self._settings = settings
        self._log = log
        self._names = (settings.admin_host, *settings.admin_hosts)
        self._problem = ""
        self._token = self._read()
        self._is_loopback = False

    def listen(self, address: str) -> None:
        """Take in the IP address on which the server listens, and log if it answers only pages of health."""
        self._is_loopback = ipaddress.ip_address(address).is_loopback
        if self._token is None and not self._is_loopback:
            self._log.warning("admin_health_only", host=address, hint=_HEALTH_ONLY_HINT)

    @property
    def is_loopback(self) -> bool:
        """Whether the server listens on a loopback address; False before :meth:`listen`."""
        return self._is_loopback

    def refusal(self, request: HTTPServerRequest, *, is_health: bool) -> Refusal | None:
        """Return why a request is not answered; None if it is.

        Args:
            request: The request.
            is_health: Whether it is for a page of health.
        """
        if not is_trusted_host(request.host_name, self._names):
            hint = "use an IP address, or add the name to admin_hosts"
            return Refusal(403, f"not for the host {peer_text(request.host_name)}; {hint}")
        return None if is_health else self._token_refusal(request.headers.get_list("Authorization"))

    def _token_refusal(self, authorization: list[str]) -> Refusal | None:
        token = self._current()
        if token is None:
            hint = "beyond loopback all but health needs a token: set admin_token"
            return None if self._is_loopback else Refusal(403, hint)
        given = bearer_token(authorization)
        if given is not None and hmac.compare_digest(given, token):
            return None
        return Refusal(401, "send the value of admin_token as Authorization: Bearer")

    def _current(self) -> str | None:
        """Return the token, read again if it is in a file."""
        if self._settings.admin_token_file is not None:
            try:
                self._token, self._problem = self._read(), ""
            except SettingsError as error:
                self._report(str(error))
        return self._token

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._log.warning("credentials_unusable", error=problem, hint=_UNUSABLE_HINT)
        self._problem = problem

    def _read(self) -> str | None:
        token = secret_of(self._settings, "admin_token")
        if token is not None and (problem := token_problem(token)):
            name = "admin_token" if self._settings.admin_token_file is None else "admin_token_file"
            raise SettingsError(f"{name}: {problem}")
        return token

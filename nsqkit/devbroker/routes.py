"""Requests, answers and paths of both HTTP interfaces of the embedded broker. No sockets.

Source:
    internal/http_api, and httprouter, on which nsqd and nsqlookupd are built.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from nsqkit.policy.names import channel_problem, topic_problem

Answer = bytes | str | int | list[Any] | dict[str, Any] | None
"""Bytes and text go out as they are, anything else as JSON."""

_OPTION = "/:option"
_BROKEN_QUERY = re.compile(r"%(?![0-9A-Fa-f]{2})|;")


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        code: nsqd's name of the error, such as ``TOPIC_NOT_FOUND``.
        allowed: The methods that the path accepts, if the method is wrong.
    """

    def __init__(self, status: int, code: str, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(status, code, allowed)
        self.status = status
        self.code = code
        self.allowed = allowed


@dataclass(frozen=True)
class Request:
    """A query, a body, and the option that the path names, if it does."""

    query: str = ""
    body: bytes = b""
    option: str = ""

    @cached_property
    def arguments(self) -> dict[str, str]:
        """Return the query's arguments, the first value of each.

        Raises:
            ApiError: If the query cannot be read.
        """
        if _BROKEN_QUERY.search(self.query):
            raise ApiError(400, "INVALID_REQUEST")
        arguments: dict[str, str] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            arguments.setdefault(name, value)
        return arguments

    def argument(self, name: str) -> str:
        """Return one argument.

        Raises:
            ApiError: If the argument is missing, or the query cannot be read.
        """
        if name not in self.arguments:
            raise ApiError(400, f"MISSING_ARG_{name.upper()}")
        return self.arguments[name]

    def topic(self) -> str:
        """Return the argument ``topic``.

        Raises:
            ApiError: If it is missing or not a valid name.
        """
        return self._name("topic", topic_problem)

    def topic_and_channel(self) -> tuple[str, str]:
        """Return the arguments ``topic`` and ``channel``.

        Raises:
            ApiError: If one is missing or not a valid name.
        """
        return self.topic(), self._name("channel", channel_problem)

    def _name(self, kind: str, problem: Callable[[str], str | None]) -> str:
        name = self.argument(kind)
        if problem(name) is not None:
            raise ApiError(400, f"INVALID_ARG_{kind.upper()}")
        return name


@dataclass(frozen=True, slots=True)
class Route:
    """The function that answers a method on a path, and the largest body that it accepts.

    A path that ends with ``/:option`` matches any last part. A plain answer lacks the header with
    NSQ's version of the interface.
    """

    method: str
    path: str
    answer: Callable[[Request], Answer]
    max_bytes: int
    too_big: str = "BODY_TOO_BIG"
    is_plain: bool = False


class Routes:
    """All paths of one HTTP interface.

    Args:
        routes: One for each method of each path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """Return the route of a request, and the option that its path names.

        Raises:
            ApiError: If there is no such path, or it does not accept the method.
        """
        methods, option = self._methods(path)
        if not methods:
            raise ApiError(404, "NOT_FOUND")
        if method not in methods:
            raise ApiError(405, "METHOD_NOT_ALLOWED", tuple(sorted({*methods, "OPTIONS"})))
        return methods[method], option

    def meant(self, method: str, path: str) -> str | None:
        """Return the path that a client meant, ignoring case and extra slashes; None if there is none."""
        tidy = "/" + "/".join(part for part in path.split("/") if part)
        fixed, _, option = tidy.rpartition("/")
        for candidate in (tidy.lower(), f"{fixed.lower()}/{option}"):
            if candidate != path and method in self._methods(candidate)[0]:
                return candidate
        return None

    def _methods(self, path: str) -> tuple[dict[str, Route], str]:
        if path in self._routes:
            return self._routes[path], ""
        folder, _, option = path.rpartition("/")
        return (self._routes.get(folder + _OPTION, {}), option) if option else ({}, "")

"""What tests of a bridge share: routes, and a worker that runs one with brokers in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsqkit.bridge.file import read_bridge
from nsqkit.bridge.route import Route

MakeRoute = Callable[..., Route]


@pytest.fixture
def make_route(tmp_path: Path) -> MakeRoute:
    """Return a route, as a file declares it."""

    def make(source: str, target: str, **more: Any) -> Route:
        path = tmp_path / "bridge.toml"
        values = {"name": "carry", "from": source, "to": target, **more}
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        path.write_text("\n".join(['name = "here"', "[[route]]", *lines]))
        (route,) = read_bridge(path).routes
        return route

    return make


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r}".replace("'", '"')

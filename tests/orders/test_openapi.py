"""The API answers whatever it is asked as its OpenAPI document says; schemathesis invents the requests."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from examples.orders.edge.order_client import OrderClient
from examples.orders.edge.server import create_app
from examples.orders.edge.v1 import create_v1
from examples.orders.orders import server
from tests.orders.conftest import settings_in
from tests.waiting import until_blocking

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
NO_CLIENT: Any = None  # the document needs none
DOCUMENT = create_v1(NO_CLIENT).openapi()
OPERATIONS = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
REQUESTS = [
    *((method, path, RIGHT) for method, path in OPERATIONS),
    *(
        (method, path, WRONG) for method, path in OPERATIONS if path == "/orders"
    ),  # any text is right as an id
]
EXAMPLES = 25


class Api(threading.Thread):
    """The edge and orders, on real ports and an event loop of their own.

    Args:
        folder: Their databases.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._uvicorn: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        """Its address; empty while it starts."""
        if self._uvicorn is None or not self._uvicorn.started:
            return ""
        host, port = self._uvicorn.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}/api/v1"

    def run(self) -> None:
        asyncio.run(self._serve())

    def stop(self) -> None:
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        self.join()

    async def _serve(self) -> None:
        async with (
            server.serving(settings_in(self._folder)) as address,
            OrderClient.connected(address) as orders,
        ):
            config = uvicorn.Config(create_app(orders), host="127.0.0.1", port=0, log_level="warning")
            self._uvicorn = uvicorn.Server(config)
            await self._uvicorn.serve()


@pytest.fixture(scope="module")
def url(empty_databases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the running API."""
    folder = tmp_path_factory.mktemp("api")
    for file in empty_databases.iterdir():
        shutil.copy(file, folder)
    api = Api(folder)
    api.start()
    try:
        yield until_blocking(lambda: api.url)
    finally:
        api.stop()


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    REQUESTS,
    ids=[f"{mode.value} {method} {path}" for method, path, mode in REQUESTS],
)
def test_every_answer_is_one_that_the_document_has(
    method: str, path: str, mode: GenerationMode, url: str
) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS)

    answers()

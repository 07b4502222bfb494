"""Problems: errors as ``application/problem+json`` (RFC 9457), and their part of the OpenAPI document."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from examples.orders.edge.models import FieldError, Problem
from examples.orders.edge.order_client import (
    InvalidOrderError,
    KeyReusedError,
    OrdersAwayError,
    UnknownOrderError,
)

MEDIA_TYPE: Final = "application/problem+json"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may answer with these problems."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {
        status: {"description": HTTPStatus(status).phrase, "model": Problem, "content": content}
        for status in statuses
    }


def only_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document without the plain JSON that FastAPI adds to each problem's media type."""
    for methods in document["paths"].values():
        for method in methods.values():
            for answer in method["responses"].values():
                if MEDIA_TYPE in answer.get("content", {}):
                    answer["content"] = {MEDIA_TYPE: answer["content"][MEDIA_TYPE]}
    return document


def install(app: FastAPI) -> None:
    """Let an application answer every error with a problem, and document it."""
    document = app.openapi
    app.openapi = lambda: only_problems(document())  # type: ignore[method-assign] # as FastAPI's manual does

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [FieldError(field=_field(each), reason=each["msg"]) for each in error.errors()]
        return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{errors[0].field}: {errors[0].reason}", errors)

    @app.exception_handler(InvalidOrderError)
    async def refused(_request: Request, error: InvalidOrderError) -> JSONResponse:
        field, _, reason = str(error).partition(": ")
        errors = [FieldError(field=field, reason=reason)]
        return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), errors)

    @app.exception_handler(UnknownOrderError)
    async def unknown(_request: Request, error: UnknownOrderError) -> JSONResponse:
        return _problem(HTTPStatus.NOT_FOUND, str(error))

    @app.exception_handler(KeyReusedError)
    async def reused(_request: Request, error: KeyReusedError) -> JSONResponse:
        return _problem(HTTPStatus.CONFLICT, str(error))

    @app.exception_handler(OrdersAwayError)
    async def away(_request: Request, error: OrdersAwayError) -> JSONResponse:
        answer = _problem(HTTPStatus.SERVICE_UNAVAILABLE, "orders does not answer; try again later")
        answer.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return answer

    @app.exception_handler(HTTPException)
    async def other(_request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's answer to a body that is not UTF-8
            errors = [FieldError(field="body", reason="it is no JSON")]
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "body: it is no JSON", errors)
        return _problem(HTTPStatus(error.status_code), error.detail)


def _problem(status: HTTPStatus, detail: str, errors: Sequence[FieldError] = ()) -> JSONResponse:
    content = Problem(title=status.phrase, status=status, detail=detail, errors=list(errors))
    return JSONResponse(content.model_dump(), status_code=status, media_type=MEDIA_TYPE)


def _field(error: Mapping[str, Any]) -> str:
    """Return the name of a field, such as ``lines.0.quantity``; ``body`` if the body is no JSON."""
    place, *inner = error["loc"]
    return str(place) if error["type"] == "json_invalid" or not inner else ".".join(map(str, inner))

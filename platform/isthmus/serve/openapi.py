"""The FastAPI application of the door, and what its OpenAPI page says of requests and answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from isthmus.serve.media_types import ENDINGS

_ABOUT = """
A promoted pair of an encoder and a decoder. The body of a request holds rows, in a form that is
read from files too; the answer has the form of the request where that can hold it, else JSON, or
what `Accept` names. What is wrong is said in one line: `{"error": "..."}`. The header
`X-Isthmus-Pair` names the pair that answered.
"""
_ROWS_EXAMPLES = {
    "rows": {"summary": "rows as lists", "value": {"rows": [[0.1, 2.0], [0.3, 1.5]]}},
    "records": {
        "summary": "rows of a table by column",
        "value": {"records": [{"flow": 0.1, "heat": 2.0}]},
    },
}
_LATENTS_EXAMPLES = {
    "latents": {
        "summary": "what embed answered",
        "value": {"latents": [[0.1, -0.7]], "pair_id": "b71f1335027c0007"},
    }
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not what its content type says, or an option is wrong."},
    401: {"description": "The token is missing or wrong."},
    409: {"description": "The latents are those of another pair."},
    413: {"description": "The request is too large."},
    415: {"description": "The content type is not read here."},
    422: {"description": "The rows do not fit the pair."},
    429: {"description": "Too many requests are waiting; `Retry-After` says when to ask again."},
    504: {"description": "There was no answer in time."},
}


def application() -> FastAPI:
    """Returns the application, without the routes of the door."""
    app = FastAPI(title="Isthmus", description=_ABOUT)
    app.add_exception_handler(HTTPException, _say)
    app.add_exception_handler(RequestValidationError, _say_invalid)
    app.add_api_route("/", _to_docs, include_in_schema=False)
    app.add_api_route("/health", _health)
    return app


def takes_rows() -> dict[str, Any]:
    """Returns what the page says of a body of rows."""
    return _body(tuple(ENDINGS), _ROWS_EXAMPLES)


def takes_latents() -> dict[str, Any]:
    """Returns what the page says of a body of latents."""
    return _body(("application/json", "application/x-npz"), _LATENTS_EXAMPLES)


def _body(forms: tuple[str, ...], examples: dict[str, Any]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = dict.fromkeys(forms, binary)
    content["application/json"] = {"schema": {"type": "object"}, "examples": examples}
    return {"requestBody": {"required": True, "content": content}}


def _to_docs(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def _health() -> dict[str, str]:
    """Say that the service listens; whether a pair answers, `/ready` says."""
    return {"status": "ok"}


async def _say(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (it is registered for these)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _say_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (it is registered for these)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    line = f"{where}: {first['msg']}, and it is {first.get('input')!r}; correct it"
    return JSONResponse({"error": line}, 422)

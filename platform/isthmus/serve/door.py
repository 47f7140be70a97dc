"""The deployment that speaks HTTP: it lets requests in, and hands them to the replicas of the pair.

It imports no torch and computes nothing, so it answers at once however busy the replicas are.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

from isthmus.serve.messages import PAIR_HEADER, WARNING_HEADER, Answer, Asked, Verb
from isthmus.serve.metrics import Metrics
from isthmus.serve.openapi import RESPONSES, application, takes_latents, takes_rows
from isthmus.serve.options import ServeOptions, digest_of_token

_logger = logging.getLogger(__name__)
_STANDING_TIMEOUT_S = 5.0
RETRY_AFTER_S = 1
"""The number of seconds after which a refused client may ask again."""
# A request whose replica dies is harmless to repeat: it changes nothing.
_TRIES = 5


class Door:
    """Lets requests in."""

    def __init__(self, options: ServeOptions, pairs: DeploymentHandle) -> None:
        """Creates it.

        Args:
            options: The options of the service.
            pairs: The handle of the replicas.
        """
        self._options = options
        self._pairs = pairs
        self._metrics = Metrics()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Returns the application; Ray Serve calls it in the process of the door."""
        app = application()
        for does in (self.detect, self.denoise, self.embed):
            app.post(f"/{does.__name__}", responses=RESPONSES, openapi_extra=takes_rows())(does)
        app.post("/decode", responses=RESPONSES, openapi_extra=takes_latents())(self.decode)
        app.get("/ready")(self.ready)
        app.get("/metrics")(self.metrics)
        return app

    # -- routes ---------------------------------------------------------------------------------

    async def detect(
        self,
        request: Request,
        false_alarm_rate: Annotated[float | None, Query(gt=0, lt=1)] = None,
        allow_unseen: bool = False,
    ) -> Response:
        """Score rows, and say which are anomalies.

        `false_alarm_rate` is the share of normal rows that may be flagged, by default the pair's
        own; with `allow_unseen`, the score alone judges rows with categories new to the pair.
        """
        return await self._used("detect", request, false_alarm_rate, allow_unseen)

    async def denoise(self, request: Request) -> Response:
        """Remove the noise of rows."""
        return await self._used("denoise", request)

    async def embed(self, request: Request) -> Response:
        """Encode rows to latents, which `decode` of the same pair takes."""
        return await self._used("embed", request)

    async def decode(self, request: Request) -> Response:
        """Decode latents to rows."""
        return await self._used("decode", request)

    async def ready(self) -> Response:
        """Say which pair answers, and how it stands with what it follows; 503 if none does."""
        try:
            found = await asyncio.wait_for(
                _result(self._pairs.standing.remote()), _STANDING_TIMEOUT_S
            )
        except Exception as error:
            _logger.info("not ready", exc_info=error)
            return JSONResponse({"ready": False, "error": "no replica answers"}, 503)
        return JSONResponse({"ready": True, **found})

    async def metrics(self, request: Request) -> Response:
        """Return the figures for Prometheus."""
        self._check_token(request)
        return Response(self._metrics.text(), media_type=Metrics.CONTENT_TYPE)

    # -- what a request has to pass -------------------------------------------------------------

    async def _used(
        self,
        verb: Verb,
        request: Request,
        false_alarm_rate: float | None = None,
        allow_unseen: bool = False,
    ) -> Response:
        """Has a verb done, and counts the request whatever comes of it."""
        began = time.monotonic()
        answer = _refused(500, "unexpected")
        with self._metrics.waiting.track_inprogress():
            try:
                self._check_token(request)
                body = await self._body(request)
                content_type, accept = _media_types(request)
                asked = Asked(verb, body, content_type, accept, false_alarm_rate, allow_unseen)
                answer = await self._handed_on(asked)
            except HTTPException as error:
                answer = _refused(error.status_code, str(error.detail), **(error.headers or {}))
            finally:
                self._metrics.count(verb, answer, time.monotonic() - began)
        return _response(answer)

    def _check_token(self, request: Request) -> None:
        wanted = self._options.token_sha256
        if wanted is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = digest_of_token(token.strip())
        if not (hmac.compare_digest(given, wanted) and scheme.lower() == "bearer"):
            raise HTTPException(
                401,
                "this service asks for a token: send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, request: Request) -> bytes:
        """Reads the body, and no more of it than may come."""
        most = self._options.max_request_bytes
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "compressed bodies are not read; send it as it is, or as npz")
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > most:
            raise self._too_large()
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413,
            f"a request may have {self._options.max_request_mib} MiB; send fewer rows at once, or "
            "serve with a larger --max-request-mib",
        )

    async def _handed_on(self, asked: Asked) -> Answer:
        """Has a replica answer, and another one if that one dies."""
        try:
            return await asyncio.wait_for(self._tried(asked), self._options.timeout_s)
        except BackPressureError as error:
            raise HTTPException(
                429,
                f"{self._options.queue} requests are waiting already; ask again in a second",
                {"Retry-After": str(RETRY_AFTER_S)},
            ) from error
        except TimeoutError as error:
            raise HTTPException(
                504, f"no answer in {self._options.timeout_s:g} s; send fewer rows at once"
            ) from error

    async def _tried(self, asked: Asked) -> Answer:
        for _ in range(_TRIES - 1):
            try:
                return await _result(self._pairs.answer.remote(asked))  # type: ignore[no-any-return]
            except RayActorError as error:
                _logger.warning("a replica ended with a request: %s", error)
                self._metrics.count_repeated()
        return await _result(self._pairs.answer.remote(asked))  # type: ignore[no-any-return]


async def _result(response: Any) -> Any:
    return await response


def _refused(status: int, line: str, **headers: str) -> Answer:
    body = json.dumps({"error": line}, ensure_ascii=False).encode()
    return Answer(status, body, "application/json", headers=headers)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, dict(answer.headers), answer.content_type)
    if answer.pair:
        response.headers[PAIR_HEADER] = answer.pair
    for line in answer.warnings:
        response.headers.append(WARNING_HEADER, line.encode("ascii", "backslashreplace").decode())
    return response


def _media_types(request: Request) -> tuple[str, tuple[str, ...]]:
    """Returns the media type of the body, and those that the answer may have."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    accept = request.headers.get("accept", "").split(",")
    return content_type, tuple(each.partition(";")[0].strip().lower() for each in accept)

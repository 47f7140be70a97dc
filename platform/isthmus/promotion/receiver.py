"""Receives MLflow's webhooks: verifies each call, and notifies of the pair that it is about."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from isthmus.aliases import register_webhook, remove_webhook
from isthmus.errors import RegistryError, UsageError
from isthmus.promotion.connections import ConnectionLimits
from isthmus.promotion.signature import SignatureCheck
from isthmus.spec import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/mlflow"
SECRET_VARIABLE = "ISTHMUS_WEBHOOK_SECRET"  # noqa: S105 (its name)
MOST_BYTES = 1 << 20
_STOP_TIMEOUT_S = 5.0
_BODY_TIMEOUT_S = 10.0
_HEADERS_TIMEOUT_S = 5.0
_MOST_CONNECTIONS = 48
_MOST_CONNECTIONS_OF_A_CLIENT = 16
# uvicorn answers 503 above this number. It is more than can be open, because connections that are
# being closed count too.
_MOST_CONCURRENT = 2 * _MOST_CONNECTIONS
_FEWEST_CHARACTERS = 16
_logger = logging.getLogger(__name__)

Ring = Callable[[str], None]
"""A function that is called with the name of a pair that has changed."""


def check_secret(secret: str) -> None:
    """Refuses a secret that is short enough to be guessed.

    Raises:
        UsageError: If it is too short. The message says how to make one.
    """
    if len(secret) < _FEWEST_CHARACTERS:
        raise UsageError(
            f"{SECRET_VARIABLE} has {len(secret)} characters and needs {_FEWEST_CHARACTERS}; make "
            f"one with: export {SECRET_VARIABLE}=$(openssl rand -hex 32)"
        )


def application(secret: str, ring: Ring) -> Starlette:
    """Returns the receiver as an ASGI application.

    It answers 202 to a genuine call, and does nothing else before that, because MLflow waits. A
    caller without the secret gets 401, or 408 or 413 if the body is too slow or too long to be
    verified.
    """
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    check = SignatureCheck(secret)

    async def receive(request: Request) -> Response:
        delivery_id, timestamp, signature = (
            request.headers.get(f"X-MLflow-{name}", "")
            for name in ("Delivery-Id", "Timestamp", "Signature")
        )
        # The body is read only if the headers look like those of a recent call by MLflow.
        if not (delivery_id and signature and check.is_timely(timestamp)):
            return Response(status_code=401)
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                body = await _body(request)
        except TimeoutError:
            return Response(status_code=408, headers={"Connection": "close"})
        if body is None:
            return Response(status_code=413)
        if not check.is_genuine(delivery_id, timestamp, signature, body):
            _logger.info("a webhook call of %s was refused", request.client)
            return Response(status_code=401)
        name = _pair_name(body)
        if name and check.is_new(delivery_id):
            ring(name)
        return Response(status_code=202)

    return Starlette(routes=[Route(PATH, receive, methods=["POST"])])


@contextmanager
def listen(host: str, port: int, secret: str, ring: Ring) -> Iterator[int]:
    """Receives webhooks in a background thread until the block ends; yields the port.

    With port 0 a free port is chosen. A connection is closed if it sends no complete request in
    time, or if a newer one needs its place.

    Raises:
        UsageError: If the secret is too short, or the address cannot be listened on.
    """
    import uvicorn

    check_secret(secret)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # from here on calls are queued until the server is up
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {host}:{port} ({error}); choose another") from None
        limits = ConnectionLimits(
            _MOST_CONNECTIONS_OF_A_CLIENT, _MOST_CONNECTIONS, _HEADERS_TIMEOUT_S
        )
        config = uvicorn.Config(
            limits.application(application(secret, ring)),
            http=limits.protocol(),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONCURRENT,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="webhooks", daemon=True
        )
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(_STOP_TIMEOUT_S)


@contextmanager
def register_until_the_end(url: str, secret: str, settings: Settings) -> Iterator[str]:
    """Registers a webhook until the block ends; yields why MLflow cannot reach it, or "".

    Raises:
        RegistryError: If MLflow does not answer at first, or refuses the webhook.
    """
    webhook = register_webhook(url, secret, settings)
    try:
        yield _advice(webhook.trouble)
    finally:
        try:
            remove_webhook(webhook, settings)
        except RegistryError as error:
            _logger.warning("MLflow goes on calling %s: %s", url, error)


def _advice(trouble: str) -> str:
    """Returns MLflow's error together with the settings that its server needs."""
    if not trouble:
        return ""
    return (
        f"{trouble.splitlines()[0][:200]} (the MLflow server needs "
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, and for http MLFLOW_WEBHOOK_ALLOWED_SCHEMES)"
    )


async def _body(request: Request) -> bytes | None:
    """Returns the body; `None` if it is longer than any call by MLflow."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _pair_name(body: bytes) -> str | None:
    """Returns the name of the pair that a call is about; `None` if it is about something else."""
    try:
        content: Any = json.loads(body)
        name, _, half = str(content["data"]["name"]).rpartition("-")
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return name if half in ("encoder", "decoder") and name else None

"""Keeps connections that never send a request from taking the places of those that do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Client = tuple[str, int]
"""The address and the port that a connection comes from."""


@dataclass
class _Connection:
    """An open connection.

    Attributes:
        transport: The transport, by which the connection is closed.
        deadline: The timer that closes the connection; `None` while one of its requests is
            answered.
    """

    transport: asyncio.BaseTransport
    deadline: asyncio.TimerHandle | None = None


class ConnectionLimits:
    """Closes connections that send no request in time, or whose place a new connection needs.

    A new connection takes the place of the one that has waited longest for a request: among those
    of the same address if that has too many, otherwise among all. If all others are answering
    requests, the new connection itself is closed. All methods are called in the server's event
    loop.
    """

    def __init__(self, per_client: int, in_all: int, headers_timeout_s: float) -> None:
        """Creates limits without any connections.

        Args:
            per_client: The largest number of connections of one address.
            in_all: The largest number of connections of all addresses together.
            headers_timeout_s: The longest wait, in seconds, for all headers of a request; also the
                longest time that a connection may be idle after one.
        """
        self._per_client = per_client
        self._in_all = in_all
        self._headers_timeout_s = headers_timeout_s
        self._open: dict[Client, _Connection] = {}  # the oldest first

    def protocol(self) -> type[asyncio.Protocol]:
        """Returns uvicorn's protocol for HTTP with these limits, for its `Config(http=...)`."""
        from uvicorn.protocols.http.h11_impl import H11Protocol

        limits = self

        class LimitedProtocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if self.client is not None:
                    limits._opened(self.client, transport)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                if self.client is not None:
                    limits._closed(self.client)

        return LimitedProtocol

    def application(self, inner: ASGIApp) -> ASGIApp:
        """Wraps an application so that a connection has no deadline while `inner` answers it."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            client: Any = scope.get("client")
            self._stop_waiting(client)
            try:
                await inner(scope, receive, send)
            finally:
                self._wait(client)

        return answer

    def _opened(self, client: Client, transport: asyncio.BaseTransport) -> None:
        neighbours = [each for each in self._open if each[0] == client[0]]
        self._open[client] = _Connection(transport)
        self._wait(client)
        if len(neighbours) >= self._per_client:
            self._make_room([*neighbours, client])
        elif len(self._open) > self._in_all:
            self._make_room(list(self._open))

    def _make_room(self, candidates: list[Client]) -> None:
        """Closes the first that waits for a request; the last one is new, so it always waits."""
        for client in candidates:
            if self._open[client].deadline is not None:
                self._close(client)
                return

    def _wait(self, client: Client) -> None:
        connection = self._open.get(client)
        if connection is not None:
            loop = asyncio.get_running_loop()
            connection.deadline = loop.call_later(self._headers_timeout_s, self._close, client)

    def _stop_waiting(self, client: Client) -> None:
        connection = self._open.get(client)
        if connection is not None and connection.deadline is not None:
            connection.deadline.cancel()
            connection.deadline = None

    def _close(self, client: Client) -> None:
        transport = self._open[client].transport
        self._closed(client)
        # `close` would wait until the client has read what was written to it.
        transport.abort() if isinstance(transport, asyncio.Transport) else transport.close()

    def _closed(self, client: Client) -> None:
        self._stop_waiting(client)
        self._open.pop(client, None)

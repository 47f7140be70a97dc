"""The options of a service: those of `isthmus serve`, and the arguments of a RayService."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from pydantic import Field

from isthmus.registry import Device
from isthmus.spec import SpecModel

TOKEN_VARIABLE = "ISTHMUS_SERVE_TOKEN"  # noqa: S105 (the name of the variable)
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (they are asked for by the user)
_MEBIBYTE = 2**20


class ServeOptions(SpecModel):
    """The options of a service."""

    model: str
    """The pair: NAME@ALIAS, which is followed, NAME/VERSION, or NAME for its champion."""
    replicas: int = Field(default=1, ge=1)
    """The number of processes that hold the pair."""
    threads: int = Field(default=1, ge=1)
    """The number of threads that each of them computes with."""
    gpus: float = Field(default=0.0, ge=0.0)
    """The number of GPUs of each of them; below 1 they share one."""
    queue: int = Field(default=128, ge=1)
    """The number of requests that may wait; further ones are answered with 429."""
    batch_wait_ms: float = Field(default=2.0, ge=0.0)
    """The longest time that a request waits for others to be batched with, in milliseconds."""
    timeout_s: float = Field(default=60.0, gt=0.0)
    """The time that a request may take, in seconds, before it is answered with 504."""
    max_request_mib: int = Field(default=64, ge=1)
    """The largest body of a request, in MiB; a larger one is answered with 413."""
    follow_s: float = Field(default=2.0, gt=0.0)
    """The time between two look-ups of a followed alias, in seconds."""
    token_sha256: str | None = None
    """The sha256 of the token that requests must bear; `None` if they need none. The token itself
    is in no process but the one that was started with it."""

    @property
    def max_request_bytes(self) -> int:
        """The largest body of a request, in bytes."""
        return self.max_request_mib * _MEBIBYTE


@dataclass(frozen=True)
class Place:
    """The host and port that a service listens on, and the cluster and device that it runs on.

    Attributes:
        host: The address to listen on.
        port: The port.
        route: The path that its own begin with.
        address: The Ray cluster that it runs on; `None` for a Ray of this process.
        device: The device that the pair computes on; `auto` is a GPU if there is one.
        replace: Whether it takes the place of the same model's service on the cluster.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    route: str = "/"
    address: str | None = None
    device: Device = "auto"
    replace: bool = False

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        host = "127.0.0.1" if self.host in _ANY_ADDRESS else self.host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}{self.route.rstrip('/')}"


def digest_of_token(token: str) -> str:
    """Returns what a service keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_digest_from_environment() -> str | None:
    """Returns the digest of the token in `ISTHMUS_SERVE_TOKEN`; `None` if it is not set."""
    token = os.environ.get(TOKEN_VARIABLE)
    return digest_of_token(token) if token else None

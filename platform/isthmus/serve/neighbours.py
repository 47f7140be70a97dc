"""Finds the services that already run on a cluster, so that a new one does not take their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isthmus.errors import UsageError
from isthmus.extras import importing
from isthmus.serve.options import Place

with importing("serve", needed_by="isthmus serve"):
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeInstanceDetails


@dataclass(frozen=True)
class Neighbours:
    """The Ray Serve of a cluster, as it is before a service starts.

    Attributes:
        details: The details that Ray Serve gives of itself; `None` if it does not run.
    """

    details: ServeInstanceDetails | None

    @classmethod
    def now(cls) -> Neighbours:
        """Returns what the cluster that this process is connected to serves."""
        client = _get_global_client(raise_if_no_controller_running=False)
        if client is None:
            return cls(None)
        return cls(ServeInstanceDetails(**client.get_serve_details()))

    def check(self, name: str, place: Place) -> None:
        """Refuses a service that cannot be had beside the others.

        Args:
            name: The name of its application.
            place: The host, port and route that it asks for, and whether it may take the place of
                a service of the same name.

        Raises:
            UsageError: If Ray Serve listens elsewhere, which cannot be changed while it runs; or if
                the path or the name is another service's.
        """
        if self.details is None:
            return
        there = self.details.http_options
        if there is not None and (there.host, there.port) != (place.host, place.port):
            raise UsageError(
                f"this cluster serves at port {there.port} of {there.host} already, and cannot "
                f"listen at port {place.port} of {place.host} too; use --host {there.host} --port "
                f"{there.port} and a --route of its own, or end the other services first"
            )
        for other, application in self.details.applications.items():
            if other == name and not place.replace:
                raise UsageError(
                    f"{name.removeprefix('isthmus-')} is served on this cluster already, at route "
                    f"{application.route_prefix}; end that service first, or take its place with "
                    "--replace"
                )
            if other != name and _same(application.route_prefix, place.route):
                raise UsageError(
                    f"--route {place.route} is that of {other} on this cluster; choose another, "
                    f"as in --route /{name.removeprefix('isthmus-')}"
                )


def _same(one: str | None, other: str) -> bool:
    return one is not None and (one.rstrip("/") or "/") == (other.rstrip("/") or "/")


@contextmanager
def beside_others(start: Callable[[], None], name: str, place: Place) -> Iterator[None]:
    """Starts a service on the cluster, and ends it with the block.

    It ends none that has taken its place meanwhile. Ray Serve itself ends only if it began with
    this service, and if it serves nothing else.

    Args:
        start: Starts the application.
        name: The name of the application.
        place: The place that it asks for.

    Raises:
        UsageError: As `Neighbours.check` says; nothing is started then.
    """
    before = Neighbours.now()
    before.check(name, place)
    deployed_s: float | None = None
    if before.details is not None and name in before.details.applications:
        serve.delete(name)  # Ray Serve notes no new time for an application that it only updates
    try:
        start()
        deployed_s = _deployed_at(name)
        yield
    finally:
        if deployed_s is None or _deployed_at(name) == deployed_s:
            serve.delete(name)
            if before.details is None and not serve.status().applications:
                serve.shutdown()


def _deployed_at(name: str) -> float | None:
    """Returns when an application was deployed last, in seconds since the epoch."""
    found = serve.status().applications.get(name)
    return None if found is None else found.last_deployed_time_s

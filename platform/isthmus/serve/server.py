"""Runs a service for as long as a block lasts: on a Ray of this process, or on a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from isthmus.errors import ClusterError, UsageError, in_one_line
from isthmus.extras import importing
from isthmus.launch.session import ray_session
from isthmus.quiet import hand_over_ray_logs
from isthmus.registry import chosen_device, resolve
from isthmus.serve.options import TOKEN_VARIABLE, Place, ServeOptions
from isthmus.servers import answers, is_free
from isthmus.spec import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_START_TIMEOUT_S = 120.0
_LOOK_S = 5.0
# So long may the service not answer before it is given up; a new door takes seconds to start.
_MOST_SILENCE_S = 60.0


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        url: The address.
        model: The pair that answered first, `digits/3`.
        pair_id: The id.
    """

    url: str
    model: str
    pair_id: str

    def wait(self) -> None:
        """Waits until Ctrl-C.

        Raises:
            ClusterError: If the service has not answered for a minute.
        """
        heard_s = time.monotonic()
        pause = threading.Event()
        try:
            while time.monotonic() - heard_s < _MOST_SILENCE_S:
                pause.wait(_LOOK_S)
                if answers(f"{self.url}/health", _LOOK_S):
                    heard_s = time.monotonic()
        except KeyboardInterrupt:
            return
        raise ClusterError(
            f"{self.url} has not answered for {_MOST_SILENCE_S:.0f} s; start it again"
        )


@contextmanager
def serving(options: ServeOptions, place: Place, settings: Settings) -> Iterator[Service]:
    """Starts a service, waits until it answers, and ends it with the block.

    Args:
        options: The options of the service.
        place: The host and port that it listens on, and the cluster that it runs on.
        settings: The settings with the registry's address, which the replicas ask too.

    Raises:
        UsageError: If the port, or on a cluster the path or the model, is another service's; if
            other machines could reach a service without a token; or if a GPU is asked for and there
            is none.
        ModelNotFound: If there is no such pair.
        RegistryError: If the pair is damaged or needs code that is neither installed nor trusted,
            or if the registry does not answer.
        ClusterError: If Ray cannot be reached, or the service does not start.
    """
    _check(options, place)
    import ray

    serve = _ray_serve()
    resolved = resolve(options.model, settings)
    # A replica could only say it in a log of Ray's. A file of this machine is not on the others.
    needed = resolved.needed if place.address is None else replace(resolved.needed, named=())
    needed.check()
    is_ours = place.address is None and not ray.is_initialized()
    with ray_session(place.address, options.replicas * options.threads):
        options = options.model_copy(update={"gpus": _gpus(options, place)})
        name = f"isthmus-{resolved.manifest.name}"
        start = partial(_start, serve, options, place, settings, name)
        with _running(serve, start, name, place, is_ours):
            yield Service(place.url, resolved.reference, resolved.manifest.pair_id)


@contextmanager
def _running(
    serve: Any, start: Callable[[], None], name: str, place: Place, ray_is_ours: bool
) -> Iterator[None]:
    """Starts a service, and ends it with the block."""
    if place.address is not None:
        from isthmus.serve.neighbours import beside_others

        with beside_others(start, name, place):
            yield
        return
    try:
        start()
        yield
    finally:
        serve.delete(name)
        if not ray_is_ours:  # what ends with our own Ray needs no end of its own
            serve.shutdown()


def _check(options: ServeOptions, place: Place) -> None:
    if place.host not in _LOOPBACK and options.token_sha256 is None:
        raise UsageError(
            f"others could reach {place.host}, and this service asks for no token; set "
            f"{TOKEN_VARIABLE} to a long random text, or leave out --host"
        )
    if not place.route.startswith("/"):
        raise UsageError(f'--route "{place.route}" does not begin with a slash; give /digits')
    if place.address is None and place.replace:
        raise UsageError("--replace is for a service on a cluster; give its --address too")
    if place.address is None:
        chosen_device(place.device)
        if not is_free(place.host, place.port):
            raise UsageError(
                f"port {place.port} of {place.host} is taken; choose another with --port"
            )


def _ray_serve() -> Any:
    """Returns Ray Serve, without its lines on the terminal.

    Raises:
        MissingExtra: If it is not installed.
    """
    with importing("serve", needed_by="isthmus serve"):
        from ray import serve
    hand_over_ray_logs()
    return serve


def _gpus(options: ServeOptions, place: Place) -> float:
    """Returns how many GPUs each replica gets: one, or its share if there are fewer."""
    import ray

    there = int(ray.cluster_resources().get("GPU", 0))
    if place.device == "gpu" and not there:
        raise UsageError("device gpu needs a GPU, and Ray has found none; choose auto or cpu")
    return 0.0 if place.device == "cpu" else min(1.0, there / options.replicas)


def _start(serve: Any, options: ServeOptions, place: Place, settings: Settings, name: str) -> None:
    from isthmus.serve.application import application

    http = {"host": place.host, "port": place.port}
    where = "HeadOnly" if place.address is None else "EveryNode"
    try:
        serve.start(proxy_location=where, http_options=http)
        serve.run(
            application(options, settings),
            name=name,
            route_prefix=place.route,
            logging_config={"enable_access_log": False},
        )
    except Exception as error:
        raise ClusterError(
            f"the service of {options.model} does not start ({in_one_line(error)}); Ray's logs, "
            "as in /tmp/ray/session_latest/logs/serve, say more"
        ) from error
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not answers(f"{place.url}/ready", _LOOK_S):
        if time.monotonic() > deadline_s:
            raise ClusterError(f"{place.url} does not answer in {_START_TIMEOUT_S:.0f} s")
        time.sleep(0.1)

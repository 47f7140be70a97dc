"""Connects this process to Ray: to a given cluster, or to a local Ray that it starts."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray
from ray._private import ray_constants

from isthmus.allocation import ENVIRONMENT
from isthmus.errors import ClusterError, first_line
from isthmus.launch.background import Background
from isthmus.quiet import hand_over_ray_logs
from isthmus.ray_head import ON_LOOPBACK, is_on_loopback
from isthmus.resources import cpus
from isthmus.servers import free_port

# Set in all processes of a Ray that `ray_session` started.
RAY_IS_OURS = "ISTHMUS_RAY_IS_OURS"
# Ray reads these when its processes start. A value that the user has set stays.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # Where the file system is slow, Ray's workers take up to 60 s to start.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How often Ray Train polls its workers. Its start and its end wait for a poll, and with Ray's
    # default of 2 s that wait would be most of a small job.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}
# These hold only for a Ray that is started here.
_OURS = {
    # By default Ray's workers yield the CPU to every other process, even to those that wait for
    # them.
    "RAY_worker_niceness": "0",
    RAY_IS_OURS: "1",
    # Ray would start a process for each CPU at once, but Ray Train's workers need another
    # environment and use none of them.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_preload_python_modules": "isthmus.ray_process",
    # Ray Train would start a process that asks whether a node is about to be taken away.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Nobody sees the lines of logs that Ray looks for ten times a second, as the driver asks for
    # none, nor the use of each process that it measures every 5 s, as there is no dashboard.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "86400",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
_ANSWER_TIMEOUT_S = 10.0
# How long a session that was interrupted while Ray starts waits for it, in order to end it.
_LEAVING_S = 20.0
# How often the signal handlers are set again while Ray starts.
_HANDLERS_S = 0.02


@contextmanager
def ray_session(address: str | None, workers: int) -> Iterator[None]:
    """Connects to Ray, and disconnects when the block ends.

    An existing connection is used and kept. A Ray that is started here listens on 127.0.0.1 only.
    The process keeps its signal handlers.

    Args:
        address: The cluster's address; `None` starts a Ray on this machine, which ends with the
            block.
        workers: Number of workers that will train. A Ray that is started here offers a CPU to each
            of them, even if the machine has fewer.

    Raises:
        ClusterError: If the cluster does not answer.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    hand_over_ray_logs()
    with (
        _environment(_OURS | ENVIRONMENT | ON_LOOPBACK if address is None else {}),
        _connected(address, workers),
    ):
        yield


@contextmanager
def _connected(address: str | None, workers: int) -> Iterator[None]:
    """Connects to Ray in a thread, which disconnects when the block ends.

    In the main thread, `ray.init` would replace Python's handler of SIGTERM by one that ends the
    process at once, in the middle of an import too. In another thread it does not. That thread has
    to live as long as the connection, because the kernel kills the processes of a local Ray when
    the thread that started them ends.

    Ray's C++ part sets a handler of its own, which aborts the process, in whatever thread it runs.
    The main thread therefore sets those from before again and again until Ray has started.
    """
    is_settled, may_leave = threading.Event(), threading.Event()

    def hold() -> None:
        with _loopback_for(address), _environment(_own_address() if address is None else {}):
            _start(address, workers)
        is_settled.set()
        may_leave.wait()
        _leave(address)

    handlers = _signal_handlers()
    holder = Background(hold, is_settled.set)
    try:
        while not is_settled.wait(_HANDLERS_S):
            _set(handlers)
        _set(handlers)
    except BaseException:
        may_leave.set()
        until_s = time.monotonic() + _LEAVING_S
        try:
            while not holder.is_there.wait(_HANDLERS_S) and time.monotonic() < until_s:
                _set(handlers)
        finally:
            _set(handlers)
        raise
    if holder.is_there.is_set():
        holder.result()  # It raises the error with which the connection failed.
    try:
        yield
    finally:
        may_leave.set()
        holder.is_there.wait()
        holder.result()


def _signal_handlers() -> Mapping[signal.Signals, Any]:
    """Returns the handlers that were set from Python; none outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # only the main thread can set them again
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    return {number: handler for number, handler in handlers.items() if handler is not None}


def _set(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _leave(address: str | None) -> None:
    """Disconnects from Ray, and ends all processes of one that was started here."""
    ours = _processes_of_our_node() if address is None else []
    ray.shutdown()
    # One in four of Ray Train's controllers hangs in its own exit and would never end.
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _own_address() -> dict[str, str]:
    """Returns environment variables that make a Ray listen where its own processes look for it.

    Otherwise the Ray Train actor that cleans up after a lost controller looks for the Ray that was
    started last on this machine, even one that has ended, and delays the end of training by 12 s.
    """
    port = os.environ.get("RAY_GCS_SERVER_PORT") or free_port("127.0.0.1")
    return {"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"}


def ray_is_ours() -> bool:
    """Returns whether this process belongs to a Ray that `ray_session` started."""
    return RAY_IS_OURS in os.environ


def _processes_of_our_node() -> list[psutil.Process]:
    """Returns all processes that the Ray node of this process has started."""
    with suppress(psutil.NoSuchProcess):
        nodes = [each for each in psutil.Process().children() if each.name() == "raylet"]
        return [each for node in nodes for each in node.children(recursive=True)]
    return []


def _start(address: str | None, workers: int) -> None:
    try:
        if address is None:
            ray.init(
                address="local",  # never a Ray that somebody else runs on this machine
                num_cpus=max(cpus(), workers),
                include_dashboard=False,
                # Without a dashboard this Ray would still name port 8265 as its own. Ray Train asks
                # there whether a training is alive: another Ray that has its dashboard at that port
                # does not know the training, which would then lose its workers.
                dashboard_port=free_port("127.0.0.1"),
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
            )
        else:
            _check_answers(address)
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise ClusterError(
            f"{where} cannot be reached ({first_line(error)}); check RAY_ADDRESS (and, if the "
            "cluster wants a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN), or unset it to train "
            "here"
        ) from error


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables that the user has not set, and removes them when the block ends.

    They are removed because a later session may use another Ray.
    """
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _loopback_for(address: str | None) -> Iterator[None]:
    """Lets Ray be started on, or be found at, this machine's loopback address.

    Ray replaces 127.0.0.1 with an address that other machines can reach, and then listens on all
    interfaces, unless `ray_head.ON_LOOPBACK` is set when it is imported. By now it is imported, so
    this sets the constant that Ray has read from there. Ray has no public setting for it: it
    replaces 127.0.0.1 also where its address is given to `ray.init`, and the variable cannot be set
    before the import, because it would hold for a cluster of several machines too.
    """
    if address is not None and not is_on_loopback(address):
        yield
        return
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _check_answers(address: str) -> None:
    """Waits a few seconds for an answer; Ray would try for ever, and print a line each time.

    Raises:
        ConnectionError: If nothing that speaks Ray's protocol answers.
    """
    host_and_port = address.removeprefix("ray://")
    if not re.fullmatch(r"[^/]+:[0-9]+", host_and_port):
        return  # It is `auto`, or something else that only Ray understands.
    import grpc

    with grpc.insecure_channel(host_and_port) as channel:
        try:
            grpc.channel_ready_future(channel).result(_ANSWER_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            raise ConnectionError("no Ray head answers there") from None

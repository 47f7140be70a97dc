"""Connects this process to Ray: a cluster if one is named, else a Ray of its own."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil
import ray

from isthmus.allocation import ENVIRONMENT
from isthmus.errors import ClusterError
from isthmus.quiet import hand_over_ray_logs
from isthmus.resources import cpus

# Set in all processes of a Ray that `ray_session` started.
RAY_IS_OURS = "ISTHMUS_RAY_IS_OURS"
# Read by Ray when its processes start; a user's own choice stands.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # Ray's workers start 60 s late at worst where the file system is slow.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How often Ray Train looks at its workers: each report, the start and the end wait for it,
    # and its own 2 s would be most of a small job. Seldom, for each look stops all workers.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}
# For a Ray of our own, which ends with this process: what watches over clusters takes a second of
# its cores before the first step, and some of them for as long as it trains.
_OURS = {
    RAY_IS_OURS: "1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Of a Ray without a dashboard nobody reads these.
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
    # Train's processes have an environment of their own, and use none that waits for work.
    "RAY_prestart_worker_first_driver": "0",
    # Ray gives way to all other processes, also to those that only wait for its workers.
    "RAY_worker_niceness": "0",
    # How often its processes look for what nobody waits for here: logs for the driver, nodes to
    # add, figures for the dashboard, events, demand of other nodes; and memory and disk, for which
    # once a second is enough. Workers that use all cores wait for each other, and so twice over
    # for whatever else runs.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "3600",
    "AUTOSCALER_UPDATE_INTERVAL_S": "3600",
    "REPORTER_UPDATE_INTERVAL_MS": "3600000",
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "60",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "3600",
    "RAY_gcs_pull_resource_loads_period_milliseconds": "10000",
    "RAY_io_context_monitor_probe_interval_ms": "60000",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_local_fs_monitor_interval_ms": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_kill_idle_workers_interval_ms": "1000",
}
_ANSWER_TIMEOUT_S = 10.0


@contextmanager
def ray_session(address: str | None, workers: int) -> Iterator[None]:
    """Connects to Ray, and disconnects at the end; a connection that stands already is used.

    Args:
        address: Of a cluster; `None` starts a Ray in this process, which ends with the block.
        workers: That will train; a Ray of our own offers a CPU to each, were there fewer cores.

    Raises:
        ClusterError: If the cluster does not answer.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    hand_over_ray_logs()
    with _environment(_OURS | ENVIRONMENT if address is None else {}):
        _start(address, workers)
        try:
            yield
        finally:
            ours = _workers_processes() if address is None else []
            ray.shutdown()
            # One in four controllers of Ray Train hangs in its own exit, and would for ever.
            for process in ours:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def _workers_processes() -> list[psutil.Process]:
    """All that Ray's node here has started."""
    with suppress(psutil.NoSuchProcess):
        nodes = [each for each in psutil.Process().children() if each.name() == "raylet"]
        return [each for node in nodes for each in node.children(recursive=True)]
    return []


def ray_is_ours() -> bool:
    """Whether this is a process of a Ray that `ray_session` started, on one machine."""
    return RAY_IS_OURS in os.environ


def _start(address: str | None, workers: int) -> None:
    try:
        if address is None:
            ray.init(
                num_cpus=max(cpus(), workers),
                include_dashboard=False,
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
        first_line = str(error).strip().splitlines()[0]
        raise ClusterError(
            f"{where} cannot be reached ({first_line}); check RAY_ADDRESS (and, if the cluster "
            "wants a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN), or unset it to train here"
        ) from error


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets those that the user has not set; a later session may be another's Ray."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _check_answers(address: str) -> None:
    """Asks once, for seconds; Ray itself would ask for ever, and say so line after line.

    Raises:
        ConnectionError: If nobody answers who speaks Ray's protocol.
    """
    host_and_port = address.removeprefix("ray://")
    if not re.fullmatch(r"[^/]+:[0-9]+", host_and_port):
        return  # `auto`, or what only Ray understands
    import grpc

    with grpc.insecure_channel(host_and_port) as channel:
        try:
            grpc.channel_ready_future(channel).result(_ANSWER_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            raise ConnectionError("no Ray head answers there") from None

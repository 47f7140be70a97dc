"""Decides whether workers get GPUs, and waits for nodes that the cluster can start.

A cluster that scales from zero has no GPU until somebody requests one. So missing resources are
requested, in a placement group that never runs anything, and the cluster's autoscaler is polled.
No autoscaler that comes with Ray 2.60 reports its limits, but its second version reports what it
cannot start, and both versions report what they are starting.

The environment variable `ISTHMUS_NODES_TIMEOUT_S` sets how many seconds a job waits for nodes, at
most; the default is 900.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from isthmus.errors import ClusterError
from isthmus.launch.session import ray_is_ours
from isthmus.spec import TrainingSpec

_logger = logging.getLogger(__name__)

NODES_TIMEOUT_S = "ISTHMUS_NODES_TIMEOUT_S"
"""The environment variable that sets how many seconds a job waits for nodes, at most."""
_TIMEOUT_S = 900.0
_LOOK_EVERY_S = 1.0
_SAY_EVERY_S = 30.0
# An autoscaler checks the requests every 5 s. One that has just been started with its cluster needs
# a moment before its first report.
_FIRST_REPORT_S = 10.0
# How long a job that can do without the nodes waits for an autoscaler that starts nothing.
_ANSWER_S = 30.0
# Prefix of the node types that Ray invents for nodes that no autoscaler has started.
_MADE_UP_TYPE = "node_"

# Ray Train's list of nodes is up to 20 s out of date.
_PLACING_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_LONGEST_PLACING_S = 25.0

Resource = Literal["CPU", "GPU"]


class Outlook(Enum):
    """The prospect of further nodes joining the cluster."""

    UNKNOWN = auto()
    """No autoscaler has reported."""
    FIXED = auto()
    """The cluster has no autoscaler that starts nodes."""
    FULL = auto()
    """The autoscaler reports that it cannot start what is requested."""
    IDLE = auto()
    """The autoscaler is starting nothing."""
    STARTING = auto()
    """The autoscaler is starting nodes."""


class Verdict(Enum):
    """The decision about needed resources."""

    READY = auto()
    WAIT = auto()
    GIVE_UP = auto()


@dataclass(frozen=True)
class Need:
    """The resources that training needs before it can begin.

    Attributes:
        resource: The resource of which each worker takes one.
        count: The number that is needed.
        is_required: Whether training fails without them; else it can do without.
        timeout_s: The longest wait for nodes, in seconds.
    """

    resource: Resource
    count: int
    is_required: bool = True
    timeout_s: float = _TIMEOUT_S

    def __str__(self) -> str:
        return f"{self.count} {self.resource}{'s' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Sight:
    """The state of the cluster at one moment of the wait.

    Attributes:
        present: The amount of the resource that it has, in use or not.
        outlook: The knowledge about nodes that may join.
        waited_s: Seconds since the wait began.
        idle_s: Seconds since nodes were last being started, or since the wait began.
    """

    present: int
    outlook: Outlook
    waited_s: float = 0.0
    idle_s: float = 0.0


def uses_gpus(training: TrainingSpec) -> bool:
    """Returns whether each worker gets a GPU, after waiting for nodes if the cluster starts some.

    `device: auto` chooses GPUs if the cluster has or can start enough for the fewest workers that
    the job accepts. Ctrl-C ends the wait.

    Raises:
        ClusterError: If the cluster has too few resources for the workers, and cannot start more or
            has not done so in time.
    """
    timeout_s, workers = _timeout_s(), training.fewest_workers
    if training.device != "cpu":
        gpus = Need("GPU", workers, training.device == "gpu", timeout_s)
        seen = _wait(gpus)
        if seen.present >= workers:
            return True
        if gpus.is_required:
            raise ClusterError(refusal(gpus, seen))
        if seen.outlook in (Outlook.IDLE, Outlook.STARTING):
            _logger.warning(
                "the cluster has %d of %s after %.0f s; training goes on with CPUs",
                seen.present, gpus, seen.waited_s,
            )  # fmt: skip
    cpus = Need("CPU", workers, timeout_s=timeout_s)
    seen = _wait(cpus)
    if seen.present < workers:
        raise ClusterError(refusal(cpus, seen))
    return False


@contextmanager
def counts_nodes_again(training: TrainingSpec) -> Iterator[None]:
    """Lets Ray Train restart with fewer workers, within the job's range, soon after a node is lost.

    As long as Ray Train does not know that a node is lost, it restarts as many workers as before,
    and waits for room for them before it counts the nodes again: in vain, and for the five minutes
    that `ray_session` allows. This shortens that wait, by an environment variable that Ray Train
    reads when the block trains.
    """
    before = os.environ.get(_PLACING_TIMEOUT)
    if isinstance(training.workers, int):
        yield
        return
    os.environ[_PLACING_TIMEOUT] = str(min(float(before or math.inf), _LONGEST_PLACING_S))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PLACING_TIMEOUT]
        else:
            os.environ[_PLACING_TIMEOUT] = before


def judge(need: Need, seen: Sight) -> Verdict:
    """Returns whether the need is met, may still be met, or should be given up."""
    if seen.present >= need.count:
        return Verdict.READY
    is_over = (
        seen.outlook in (Outlook.FIXED, Outlook.FULL)
        or seen.waited_s >= need.timeout_s
        or (seen.outlook is Outlook.UNKNOWN and seen.waited_s >= _FIRST_REPORT_S)
        # The autoscaler's first version does not report what it cannot start.
        or (seen.outlook is Outlook.IDLE and not need.is_required and seen.idle_s >= _ANSWER_S)
    )
    return Verdict.GIVE_UP if is_over else Verdict.WAIT


def refusal(need: Need, seen: Sight) -> str:
    """Returns a one-line message on why training cannot begin and what to do."""
    if need.resource == "GPU":
        asks = f"training.device=gpu needs {need}, one for each worker"
        otherwise = ", or set training.device: cpu"
    else:
        asks, otherwise = f"training.workers={need.count} needs as many CPUs", ""
    sees = f"{asks}, and Ray sees {seen.present}"
    if seen.outlook is Outlook.FULL:
        return (
            f"{sees}; the cluster's autoscaler says that it cannot start the rest now: lower "
            f"training.workers, raise the cluster's limits{otherwise}"
        )
    if seen.outlook in (Outlook.IDLE, Outlook.STARTING) or seen.waited_s >= need.timeout_s:
        return (
            f"{sees} after {seen.waited_s:.0f} s; `ray status` says why nodes do not join: lower "
            f"training.workers, raise {NODES_TIMEOUT_S}{otherwise}"
        )
    return f"{sees}; lower training.workers{otherwise or ' or add nodes to the cluster'}"


def _wait(need: Need) -> Sight:
    """Waits until the need is met or is given up; returns the last state of the cluster."""
    seen = Sight(_present(need.resource), Outlook.FIXED if ray_is_ours() else Outlook.UNKNOWN)
    if judge(need, seen) is not Verdict.WAIT:
        return seen
    began_s = starting_s = time.monotonic()
    said_s = -math.inf
    with _asked_for(need) as request:
        while True:
            outlook = _outlook(need.resource, request)
            present, now_s = _present(need.resource), time.monotonic()
            if outlook is Outlook.STARTING or present > seen.present:
                starting_s = now_s
            seen = Sight(present, outlook, now_s - began_s, now_s - starting_s)
            if judge(need, seen) is not Verdict.WAIT:
                return seen
            # Most clusters that start nothing report so within seconds, which needs no message.
            is_worth_saying = outlook is Outlook.STARTING or seen.waited_s >= _FIRST_REPORT_S
            if is_worth_saying and now_s - said_s >= _SAY_EVERY_S:
                said_s = now_s
                _logger.warning(waiting(need, seen))
            time.sleep(_LOOK_EVERY_S)


def waiting(need: Need, seen: Sight) -> str:
    """Returns a one-line message on what the job is waiting for."""
    does = "is starting nodes" if seen.outlook is Outlook.STARTING else "has not started nodes yet"
    return f"waiting for {need}: the cluster has {seen.present} and {does}; Ctrl-C stops"


def _present(resource: Resource) -> int:
    return int(ray.cluster_resources().get(resource, 0))


def _timeout_s() -> float:
    said = os.environ.get(NODES_TIMEOUT_S, "")
    try:
        timeout_s = float(said or _TIMEOUT_S)
    except ValueError:
        timeout_s = math.nan
    if not timeout_s >= 0:
        raise ClusterError(f"{NODES_TIMEOUT_S}={said} is no number of seconds; use 0 or more")
    return timeout_s


@contextmanager
def _asked_for(need: Need) -> Iterator[str]:
    """Requests the needed resources from the autoscaler; yields the request's id.

    A placement group disappears with the driver, however that ends, and does not override the
    requests of other jobs, as `ray.autoscaler.sdk.request_resources` would.
    """
    group = placement_group([{need.resource: 1}] * need.count)
    try:
        yield group.id.hex()
    finally:
        remove_placement_group(group)


# -- what the autoscaler says ----------------------------------------------------------------------


def _outlook(resource: Resource, request: str) -> Outlook:
    """Returns what the cluster's autoscaler reports; Ray has no public API for this."""
    try:
        from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
        from ray.experimental.internal_kv import _internal_kv_get, internal_kv_get_gcs_client

        report = _internal_kv_get("__autoscaling_status")
        if report:
            return outlook_of_report(json.loads(report), resource)
        reply = GetClusterStatusReply.FromString(
            internal_kv_get_gcs_client().get_cluster_status(timeout_s=5)
        )
        return outlook_of_state(reply.autoscaling_state, request)
    except Exception:
        _logger.debug("the autoscaler cannot be asked", exc_info=True)
        return Outlook.UNKNOWN


def outlook_of_report(report: Mapping[str, Any], resource: Resource) -> Outlook:
    """Returns what the first version of the autoscaler reports.

    Args:
        report: The report that it writes to Ray's key-value store after each check of the cluster.
        resource: The resource that the job waits for.
    """
    said = report.get("autoscaler_report")
    if not said:
        return Outlook.UNKNOWN
    types = {*(said.get("node_type_mapping") or {}).values(), *said.get("active_nodes", ())}
    if all(name.startswith(_MADE_UP_TYPE) for name in types):
        return Outlook.FIXED
    is_starting = (said.get("pending_resources") or {}).get(resource, 0) > 0
    return Outlook.STARTING if is_starting else Outlook.IDLE


def outlook_of_state(state: Any, request: str) -> Outlook:
    """Returns what the second version of the autoscaler reports.

    If it has no nodes to start, it reports every request as infeasible.

    Args:
        state: The `AutoscalingState` that it reports to Ray.
        request: The id of the placement group that requests the missing resources.
    """
    if state.autoscaler_state_version == 0:
        return Outlook.UNKNOWN
    if state.pending_instance_requests or state.pending_instances:
        return Outlook.STARTING
    refused = (each.details for each in state.infeasible_gang_resource_requests)
    return Outlook.FULL if any(each.startswith(request) for each in refused) else Outlook.IDLE

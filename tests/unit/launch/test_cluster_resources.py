"""What is decided of workers' resources, by what a cluster has and its autoscaler says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray.core.generated.autoscaler_pb2 import AutoscalingState

from isthmus.errors import ClusterError
from isthmus.launch import cluster_resources
from isthmus.launch.cluster_resources import (
    NODES_TIMEOUT_S,
    Need,
    Outlook,
    Sight,
    Verdict,
    counts_nodes_again,
    judge,
    outlook_of_report,
    outlook_of_state,
    refusal,
    uses_gpus,
    waiting,
)
from tests.distributed.small_jobs import training

REQUIRED = Need("GPU", 2, is_required=True, timeout_s=900)
WISHED = Need("GPU", 2, is_required=False, timeout_s=900)


@pytest.mark.parametrize(
    ("need", "seen", "verdict"),
    [
        pytest.param(REQUIRED, Sight(2, Outlook.FIXED), Verdict.READY, id="there"),
        pytest.param(REQUIRED, Sight(1, Outlook.FIXED), Verdict.GIVE_UP, id="no-autoscaler"),
        pytest.param(WISHED, Sight(1, Outlook.FIXED), Verdict.GIVE_UP, id="auto-no-autoscaler"),
        pytest.param(REQUIRED, Sight(0, Outlook.FULL, 1), Verdict.GIVE_UP, id="beyond-the-limits"),
        pytest.param(REQUIRED, Sight(0, Outlook.UNKNOWN, 9), Verdict.WAIT, id="just-started"),
        pytest.param(REQUIRED, Sight(0, Outlook.UNKNOWN, 10), Verdict.GIVE_UP, id="no-report"),
        pytest.param(REQUIRED, Sight(0, Outlook.STARTING, 899), Verdict.WAIT, id="starting"),
        pytest.param(WISHED, Sight(0, Outlook.STARTING, 899), Verdict.WAIT, id="auto-starting"),
        pytest.param(WISHED, Sight(0, Outlook.STARTING, 900), Verdict.GIVE_UP, id="too-late"),
        pytest.param(REQUIRED, Sight(0, Outlook.IDLE, 899, 899), Verdict.WAIT, id="gpu-waits"),
        pytest.param(WISHED, Sight(0, Outlook.IDLE, 20, 20), Verdict.WAIT, id="auto-waits"),
        pytest.param(WISHED, Sight(1, Outlook.IDLE, 99, 30), Verdict.GIVE_UP, id="no-more-come"),
        pytest.param(WISHED, Sight(2, Outlook.STARTING, 900), Verdict.READY, id="there-at-last"),
    ],
)
def test_nodes_are_waited_for_while_they_may_still_join(
    need: Need, seen: Sight, verdict: Verdict
) -> None:
    assert judge(need, seen) is verdict


@pytest.mark.parametrize(
    ("report", "outlook"),
    [
        pytest.param({}, Outlook.UNKNOWN, id="no-look-yet"),
        pytest.param({"node_type_mapping": {"f6c6": "node_f6c6"}}, Outlook.FIXED, id="by-hand"),
        pytest.param({"active_nodes": {"node_f6c6": 1}}, Outlook.FIXED, id="by-hand-no-mapping"),
        pytest.param({"node_type_mapping": {"10.0.0.1": "head"}}, Outlook.IDLE, id="idle"),
        pytest.param(
            {"node_type_mapping": {"10.0.0.1": "head"}, "pending_resources": {"CPU": 8}},
            Outlook.IDLE,
            id="only-cpus-come",
        ),
        pytest.param(
            {"node_type_mapping": {"10.0.0.1": "head"}, "pending_resources": {"GPU": 2}},
            Outlook.STARTING,
            id="gpus-come",
        ),
    ],
)
def test_the_first_autoscaler_says_in_its_report_what_it_starts(
    report: dict[str, Any], outlook: Outlook
) -> None:
    assert outlook_of_report({"autoscaler_report": report or None}, "GPU") is outlook


@pytest.mark.parametrize(
    ("state", "outlook"),
    [
        pytest.param({}, Outlook.UNKNOWN, id="no-look-yet"),
        pytest.param({"autoscaler_state_version": 2}, Outlook.IDLE, id="idle"),
        pytest.param(
            {
                "autoscaler_state_version": 2,
                "pending_instance_requests": [{"ray_node_type_name": "gpu", "count": 2}],
            },
            Outlook.STARTING,
            id="asked-the-cloud",
        ),
        pytest.param(
            {
                "autoscaler_state_version": 2,
                "pending_instances": [{"ray_node_type_name": "gpu"}],
                "infeasible_gang_resource_requests": [{"details": "b3bc:PACK|PENDING"}],
            },
            Outlook.STARTING,
            id="some-come",
        ),
        pytest.param(
            {
                "autoscaler_state_version": 2,
                "infeasible_gang_resource_requests": [{"details": "b3bc:PACK|PENDING"}],
            },
            Outlook.FULL,
            id="cannot",
        ),
        pytest.param(
            {
                "autoscaler_state_version": 2,
                "infeasible_gang_resource_requests": [{"details": "ffff:PACK|PENDING"}],
            },
            Outlook.IDLE,
            id="anothers-request",
        ),
    ],
)
def test_the_second_autoscaler_says_what_it_starts_and_what_it_cannot(
    state: dict[str, Any], outlook: Outlook
) -> None:
    assert outlook_of_state(AutoscalingState(**state), "b3bc") is outlook


def test_what_is_waited_for_is_said_with_numbers() -> None:
    assert waiting(REQUIRED, Sight(0, Outlook.STARTING, 30)) == (
        "waiting for 2 GPUs: the cluster has 0 and is starting nodes; Ctrl-C stops"
    )
    assert waiting(Need("CPU", 1), Sight(0, Outlook.IDLE, 30)) == (
        "waiting for 1 CPU: the cluster has 0 and has not started nodes yet; Ctrl-C stops"
    )


@pytest.mark.parametrize(
    ("need", "seen", "message"),
    [
        pytest.param(
            REQUIRED,
            Sight(0, Outlook.FIXED),
            "training.device=gpu needs 2 GPUs, one for each worker, and Ray sees 0; lower "
            "training.workers, or set training.device: cpu",
            id="no-autoscaler",
        ),
        pytest.param(
            Need("CPU", 512),
            Sight(2, Outlook.FIXED),
            "training.workers=512 needs as many CPUs, and Ray sees 2; lower training.workers or "
            "add nodes to the cluster",
            id="no-autoscaler-cpus",
        ),
        pytest.param(
            REQUIRED,
            Sight(1, Outlook.FULL, 6),
            "training.device=gpu needs 2 GPUs, one for each worker, and Ray sees 1; the cluster's "
            "autoscaler says that it cannot start the rest now: lower training.workers, raise the "
            "cluster's limits, or set training.device: cpu",
            id="beyond-the-limits",
        ),
        pytest.param(
            Need("CPU", 8),
            Sight(2, Outlook.STARTING, 900),
            "training.workers=8 needs as many CPUs, and Ray sees 2 after 900 s; `ray status` says "
            "why nodes do not join: lower training.workers, raise ISTHMUS_NODES_TIMEOUT_S",
            id="too-late",
        ),
    ],
)
def test_a_refusal_says_what_is_missing_and_what_to_do(
    need: Need, seen: Sight, message: str
) -> None:
    assert refusal(need, seen) == message


@pytest.mark.parametrize("said", ["soon", "-1", "nan"])
def test_a_time_limit_that_is_no_number_of_seconds_is_refused(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv(NODES_TIMEOUT_S, said)
    with pytest.raises(ClusterError, match=f"ISTHMUS_NODES_TIMEOUT_S={said} is no number"):
        uses_gpus(training(device="gpu"))


@pytest.mark.parametrize(
    ("device", "has", "options", "is_on_gpus"),
    [
        pytest.param("auto", {"CPU": 2, "GPU": 2}, {"workers": 2}, True, id="auto-there"),
        pytest.param("auto", {"CPU": 2, "GPU": 1}, {"workers": 2}, False, id="auto-too-few"),
        pytest.param("cpu", {"CPU": 2, "GPU": 2}, {"workers": 2}, False, id="cpu"),
        pytest.param(
            "auto",
            {"CPU": 4, "GPU": 1},
            {"workers": {"min": 1, "max": 2}},
            True,
            id="auto-the-fewest-workers",
        ),
    ],
)
def test_a_cluster_of_one_machine_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    has: dict[str, float],
    options: dict[str, Any],
    is_on_gpus: bool,
) -> None:
    monkeypatch.setattr(cluster_resources.ray, "cluster_resources", lambda: has)
    monkeypatch.setattr(cluster_resources, "ray_is_ours", lambda: True)
    assert uses_gpus(training(device=device, **options)) is is_on_gpus


class FakeCluster:
    """A cluster that a second at a time passes in, with the requests that are open."""

    def __init__(self, outlook: Outlook, gpus_at: Callable[[float], int]) -> None:
        self.now_s = 0.0
        self.requests: list[Need] = []
        self._outlook = outlook
        self._gpus_at = gpus_at

    def resources(self) -> dict[str, float]:
        return {"CPU": 8, "GPU": self._gpus_at(self.now_s)}

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert len(self.requests) == 1
        self.now_s += seconds
        if self.now_s > 10_000:
            raise KeyboardInterrupt

    @contextmanager
    def asked_for(self, need: Need) -> Iterator[str]:
        self.requests.append(need)
        try:
            yield "b3bc"
        finally:
            self.requests.remove(need)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
        monkeypatch.delenv(NODES_TIMEOUT_S, raising=False)
        monkeypatch.setattr(cluster_resources.ray, "cluster_resources", self.resources)
        monkeypatch.setattr(cluster_resources, "ray_is_ours", lambda: False)
        monkeypatch.setattr(cluster_resources, "time", self)
        monkeypatch.setattr(cluster_resources, "_asked_for", self.asked_for)
        monkeypatch.setattr(cluster_resources, "_outlook", lambda *_: self._outlook)
        return self


def test_gpus_that_are_being_started_are_waited_for_with_a_message_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = FakeCluster(Outlook.STARTING, lambda now_s: int(now_s // 45)).patch(monkeypatch)
    assert uses_gpus(training(device="auto", workers=2))
    assert cluster.now_s == 90
    assert caplog.messages == [
        f"waiting for 2 GPUs: the cluster has {has} and is starting nodes; Ctrl-C stops"
        for has in (0, 0, 1)
    ]
    assert cluster.requests == []


def test_gpus_that_do_not_come_in_time_end_the_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = FakeCluster(Outlook.STARTING, lambda _: 1).patch(monkeypatch)
    with pytest.raises(ClusterError, match=r"needs 2 GPUs.* Ray sees 1 after 900 s"):
        uses_gpus(training(device="gpu", workers=2))
    assert cluster.requests == []
    caplog.clear()
    assert not uses_gpus(training(device="auto", workers=2))
    assert caplog.messages[-1] == (
        "the cluster has 1 of 2 GPUs after 900 s; training goes on with CPUs"
    )


def test_the_environment_says_how_long_nodes_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = FakeCluster(Outlook.IDLE, lambda _: 0).patch(monkeypatch)
    monkeypatch.setenv(NODES_TIMEOUT_S, "40")
    with pytest.raises(ClusterError, match=r"Ray sees 0 after 40 s; `ray status` says why"):
        uses_gpus(training(device="gpu"))
    assert cluster.now_s == 40


def test_auto_uses_cpus_where_the_autoscaler_starts_nothing_for_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = FakeCluster(Outlook.IDLE, lambda _: 0).patch(monkeypatch)
    assert not uses_gpus(training(device="auto"))
    assert cluster.now_s == 30


def test_ctrl_c_ends_the_wait_and_takes_the_request_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster(Outlook.STARTING, lambda _: 0).patch(monkeypatch)
    monkeypatch.setenv(NODES_TIMEOUT_S, "1e9")
    with pytest.raises(KeyboardInterrupt):
        uses_gpus(training(device="gpu"))
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("workers", "before", "within"),
    [
        pytest.param(2, "300", "300", id="a-number"),
        pytest.param({"min": 1, "max": 2}, "300", "25.0", id="a-range"),
        pytest.param({"min": 1, "max": 2}, "10", "10.0", id="a-range-shorter-already"),
        pytest.param({"min": 1, "max": 2}, None, "25.0", id="a-range-not-set"),
    ],
)
def test_only_a_range_of_workers_is_counted_anew_before_long(
    monkeypatch: pytest.MonkeyPatch, workers: object, before: str | None, within: str
) -> None:
    name = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    with counts_nodes_again(training(workers=workers)):
        assert os.environ[name] == within
    assert os.environ.get(name) == before

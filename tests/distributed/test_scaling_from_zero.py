"""A cluster that has no GPU yet, and whose autoscaler starts nodes with some: fake ones, on here.

The clusters are started as `ray.cluster_utils.AutoscalingCluster` does, which itself would end all
other Rays of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
)

from isthmus.servers import free_port

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.timeout(900)]

# Two nodes can join, with a CPU and a GPU each, to a head with a CPU.
NODE_TYPES = {
    FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
    "with_gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "max_workers": 2},
}
# These clusters are nobody else's, and gone within a minute.
ENVIRONMENT = {
    **os.environ,
    "RAY_AUTH_MODE": "disabled",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",  # so that a lost cluster is seen soon
}
_STARTS = 3
# How long nodes are waited for, and less than what that takes.
_TIMEOUT_S, _SOON_S = 100, 50
# Asks, one after another, whether workers get GPUs, and prints what comes of it.
ASK = """
import json, logging, os, sys, time
import ray
from isthmus.errors import ClusterError
from isthmus.spec import TrainingSpec
from isthmus.launch.cluster_resources import uses_gpus

class Said(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())

logging.getLogger("isthmus").addHandler(Said())
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
for asked in json.loads(sys.argv[2]):
    said, began_s = [], time.monotonic()
    os.environ["ISTHMUS_NODES_TIMEOUT_S"] = str(asked.pop("timeout_s", float(sys.argv[3])))
    try:
        result = uses_gpus(TrainingSpec.model_validate({"global_batch_size": 60, **asked}))
    except ClusterError as error:
        result = str(error)
    seconds, has = time.monotonic() - began_s, ray.cluster_resources()
    print(json.dumps({
        "result": result, "gpus": has.get("GPU"), "cpus": has.get("CPU"), "said": said,
        "seconds": seconds,
    }))
"""


@contextmanager
def cluster(folder: Path, *, version: int | None) -> Iterator[tuple[str, psutil.Popen]]:
    """Yields the address and the head of a cluster; `version` is of its autoscaler, if any."""
    port = free_port("127.0.0.1")
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=1", "--num-gpus=0"),
        *("--include-dashboard=false", "--object-store-memory=80000000"),
    ]
    environment = {**ENVIRONMENT, "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    if version is not None:
        configuration = folder / "autoscaler.json"
        configuration.write_text(json.dumps(_configuration(port)), encoding="utf-8")
        command.append(f"--autoscaling-config={configuration}")
        environment |= {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": str(int(version == 2)),
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        }
    with (folder / "head.log").open("w") as log:
        head = psutil.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for_line("Ray runtime started", folder / "head.log", head)
        yield f"127.0.0.1:{port}", head
    finally:
        _end(head)


def _configuration(port: int) -> dict[str, Any]:
    lists = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")
    commands = ("setup_commands", "start_ray_commands")
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "provider": {
            # By its name Ray would look for a file that its wheel leaves out.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": f"127.0.0.1:{port}",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "available_node_types": NODE_TYPES,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "docker": {},
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "setup_commands": [],
        **{name: [] for name in lists},
        **{f"{where}_{name}": [] for where in ("head", "worker") for name in commands},
    }


def _wait_for_line(line: str, file: Path, head: psutil.Popen) -> None:
    until_s = time.monotonic() + 240
    while line not in file.read_text(encoding="utf-8"):
        assert head.poll() is None, file.read_text(encoding="utf-8")
        assert time.monotonic() < until_s, file.read_text(encoding="utf-8")
        time.sleep(0.1)


def _end(head: psutil.Popen) -> None:
    """Ends the head and all that it and its autoscaler have started."""
    started = [head]
    with suppress(psutil.NoSuchProcess):  # it may have ended by itself, and the others with it
        started += head.children(recursive=True)
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(started, timeout=10)
    head.wait()


def _ends_soon(head: psutil.Popen) -> bool:
    with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
        head.wait(timeout=10)
    return head.poll() is not None


def ask(folder: Path, *asked: dict[str, Any], version: int | None) -> list[dict[str, Any]]:
    """Returns what came of each question: whether workers get GPUs, or why they cannot start.

    A cluster that ends by itself is started anew. Ray's fake cluster does so at rare times on a
    busy machine: one of its processes dies, and `ray start --block` then ends the others.
    """
    for start in range(_STARTS):
        of_this_start = folder / str(start)
        of_this_start.mkdir()
        with cluster(of_this_start, version=version) as (address, head):
            done = subprocess.run(
                [sys.executable, "-c", ASK, address, json.dumps(asked), str(_TIMEOUT_S)],
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=600,
            )
            has_ended = done.returncode != 0 and _ends_soon(head)
        if not has_ended:
            break
    log = (of_this_start / "head.log").read_text(encoding="utf-8")
    assert done.returncode == 0, f"{done.stderr}\nThe log of the head:\n{log}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_gpus_that_the_cluster_can_start_are_waited_for_and_no_others(tmp_path: Path) -> None:
    two, two_at_once, automatic, three = ask(
        tmp_path,
        {"device": "auto", "workers": 2},
        {"device": "gpu", "workers": 2},
        {"device": "auto", "workers": 3},
        {"device": "gpu", "workers": 3},
        version=2,
    )
    assert two["result"] is True
    assert two["gpus"] == 2
    assert two["said"][0].startswith("waiting for 2 GPUs: the cluster has 0 and ")
    assert two_at_once["result"] is True
    assert two_at_once["said"] == []
    # The nodes with GPUs have CPUs as well.
    assert automatic["result"] is False
    assert automatic["seconds"] < _SOON_S
    assert "needs 3 GPUs, one for each worker, and Ray sees 2" in three["result"]
    assert "says that it cannot start the rest" in three["result"]
    assert three["seconds"] < _SOON_S


def test_workers_wait_for_cpus_that_join_and_not_for_longer_than_the_limit(
    tmp_path: Path,
) -> None:
    late, some = ask(
        tmp_path,
        {"device": "gpu", "workers": 2, "timeout_s": 0.5},  # no node can join so soon
        {"device": "cpu", "workers": 3},
        version=1,
    )
    assert "needs 2 GPUs, one for each worker, and Ray sees 0 after " in late["result"]
    assert some["result"] is False
    assert some["cpus"] == 3
    assert some["said"][0].startswith("waiting for 3 CPUs: the cluster has 1 and ")


def test_a_cluster_without_an_autoscaler_is_not_waited_for(tmp_path: Path) -> None:
    automatic, required = ask(
        tmp_path,
        {"device": "auto", "workers": 1},
        {"device": "gpu", "workers": 1},
        version=None,
    )
    assert automatic["result"] is False
    assert "device=gpu needs 1 GPU, one for each worker, and Ray sees 0" in required["result"]
    assert required["said"] == []
    assert required["seconds"] < _SOON_S

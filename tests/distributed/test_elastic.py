"""`workers: {min: 1, max: 2}` on a cluster whose second node joins and is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.timeout(600)]

# Another Ray may run in the process of the tests. The callback is defined here, in `__main__`, so
# that Ray sends it to the workers as code: they need not find the tests.
SCRIPT = """
import json, sys, threading, time
from pathlib import Path

import ray
from pytorch_lightning import Callback
from ray.cluster_utils import Cluster

from isthmus.launch.ray_trainer import fit
from isthmus.launch.session import ray_session
from isthmus.servers import free_port
from tests.distributed.small_jobs import plan, rows, training

FOLDER = Path(sys.argv[1])

class CountWorkers(Callback):
    def __init__(self, file, pause_s):
        self.file, self.pause_s = file, pause_s

    def on_train_epoch_start(self, trainer, pl_module):
        time.sleep(self.pause_s)
        if trainer.global_rank == 0:
            with self.file.open("a") as file:
                file.write(f"{trainer.current_epoch + 1} {trainer.world_size}\\n")

class Recorder:
    def __init__(self, after_epoch=0, action=None):
        self.epochs, self.attempts, self.after_epoch, self.action = [], [], after_epoch, action

    def on_start(self, epochs, rows, first_epoch):
        self.first = first_epoch

    def on_rows(self, epoch, done):
        pass

    def on_epoch(self, report):
        self.epochs.append(report.epoch)
        self.attempts.append(report.attempt)
        if report.epoch == self.after_epoch:
            threading.Thread(target=self.action).start()

def train(name, recorder, pause_s=0.0, **options):
    began_s, file = time.monotonic(), FOLDER / f"{name}.txt"
    spec = training(workers={"min": 1, "max": 2}, device="cpu", **options)
    result = fit(
        plan(), spec, rows(), storage_path=str(FOLDER), run_name=name, reporter=recorder,
        callbacks=(CountWorkers(file, pause_s),),
    )
    counted = [[int(word) for word in line.split()] for line in file.read_text().splitlines()]
    print(json.dumps({
        "name": name, "workers": counted, "epochs": recorder.epochs, "attempts": recorder.attempts,
        "finished": result.progress.finished, "loss": result.progress.best_loss,
        "seconds": time.monotonic() - began_s,
    }), flush=True)

node = {"num_cpus": 1, "object_store_memory": 80 << 20}
# Without a port of its own it would take the dashboard of another Ray for its own.
alone = {"include_dashboard": False, "dashboard_port": free_port("127.0.0.1")}
cluster = Cluster(initialize_head=True, head_node_args={**node, **alone})
try:
    second = cluster.add_node(**node)
    with ray_session(cluster.address, 2):
        lose = lambda: cluster.remove_node(second, allow_graceful=False)
        train("lost", Recorder(3, lose), pause_s=0.2, epochs=12, checkpoint_interval_s=0)
        train("one", Recorder(), epochs=4)
finally:
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of two runs: on two nodes of which one is lost, and on the one that is left."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path_factory.mktemp("runs")],
        # Each node would start a process for each CPU, which Ray Train's workers do not use.
        env={
            **os.environ,
            "RAY_AUTH_MODE": "disabled",
            "RAY_prestart_worker_first_driver": "0",
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=540,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr
    return {run["name"]: run for run in found}


def test_one_worker_trains_where_there_is_a_cpu_for_one(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["one"]["finished"]
    assert runs["one"]["workers"] == [[epoch, 1] for epoch in range(1, 5)]
    assert runs["one"]["attempts"] == [1] * 4


def test_two_workers_train_until_a_node_is_lost_and_one_goes_on_from_the_last_checkpoint(
    runs: dict[str, dict[str, Any]],
) -> None:
    lost = runs["lost"]
    assert lost["finished"]
    assert lost["epochs"] == list(range(1, 13))
    before = [epoch for epoch, workers in lost["workers"] if workers == 2]
    after = [epoch for epoch, workers in lost["workers"] if workers == 1]
    assert before[:3] == [1, 2, 3]
    # An epoch whose checkpoint Ray had not noted yet is gone through again, but not all of them.
    assert 2 <= after[0] <= before[-1] + 1
    assert after == list(range(after[0], 13))
    assert lost["attempts"][-1] == 2

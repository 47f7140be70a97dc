"""Seconds from a command to its first optimizer step, and what `isthmus --help` takes.

The static commands, which read no data and no registry, are measured beside `isthmus --help`, and
so is the completion of a pair's name: these in CPU time, which other work on the machine changes
less. The commands that ask the registry wait for MLflow, and are measured beside its import.

The references are scripts that a user would write for the same rows and layers. Each run is a
process of its own, in a folder where a first run has already made the local store.

    python tests/benchmarks/starting.py [BENCHMARK ...]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from measuring import compare, wanted

STATIC = {
    "variants": ["variants"],
    "nets": ["nets"],
    "scores": ["scores"],
    "schema": ["schema"],
    "validate": ["validate", "job.yaml", "--no-data"],
}
REGISTRY = {
    "models": ["models"],
    "history": ["history", "start"],
    "lineage": ["lineage", "start/1"],
}
NAMES = ("start", "start-local", "cli", *STATIC, "completion", *REGISTRY)
# Both sides say so when their first step is next.
READY = "training from epoch"

JOB = """
name: start
data: rows.npy
variant: plain
net: {name: dense, hidden: [256]}
latent_dim: 16
training: {epochs: 1000, global_batch_size: 256, early_stopping: null}
"""

MODEL = """
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import pytorch_lightning as pl

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 16),
            nn.Linear(16, 256), nn.GELU(), nn.Linear(256, 64),
        )
    def on_train_start(self):
        print("training from epoch", flush=True)
    def training_step(self, batch, index):
        (rows,) = batch
        return nn.functional.mse_loss(self.net(rows), rows)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)

def loader():
    rows = torch.from_numpy(np.load(PATH))
    return DataLoader(TensorDataset(rows), batch_size=256, shuffle=True)
"""

PLAIN = """
PATH = "rows.npy"
{model}
trainer = pl.Trainer(max_epochs=1000, accelerator="cpu", logger=False, enable_progress_bar=False,
                     enable_checkpointing=False)
trainer.fit(Model(), loader())
"""

RAY = """
import os
PATH = os.path.abspath("rows.npy")
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

def work(config):
    namespace = dict(PATH=config["path"])
    exec(config["model"], namespace)
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
    pl = namespace["pl"]
    trainer = pl.Trainer(
        max_epochs=1000, accelerator="cpu", devices="auto", strategy=RayDDPStrategy(),
        plugins=[RayLightningEnvironment()], logger=False, enable_progress_bar=False,
        enable_checkpointing=False,
    )
    prepare_trainer(trainer).fit(namespace["Model"](), namespace["loader"]())

ray.init(address="local", num_cpus=2, include_dashboard=False)
TorchTrainer(
    work, train_loop_config=dict(path=PATH, model=MODEL),
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(storage_path=os.path.abspath("runs")),
).fit()
"""


COMPLETE = """
import os, sys
os.environ |= {"_ISTHMUS_COMPLETE": "complete_bash", "COMP_WORDS": "isthmus models s"}
os.environ["COMP_CWORD"] = "2"
sys.argv = ["isthmus"]
from isthmus.__main__ import main
main()
"""


def seconds(command: list[str], folder: Path) -> float:
    """From the start of a process until it says that it is ready; it is ended then."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    began_s = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        heard = []
        for line in process.stdout:
            heard.append(line)
            if READY in line:
                found = time.perf_counter() - began_s
                process.terminate()
                process.wait(60)
                return found
    raise SystemExit("".join(heard))


def whole(command: list[str], folder: Path) -> float:
    began_s = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began_s


def cpu_seconds(command: list[str], folder: Path) -> float:
    """Returns the CPU time that a process takes, in its own code and in the kernel."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole(command, folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    isthmus = [sys.executable, "-m", "isthmus"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = np.random.default_rng(0).standard_normal((8192, 64)).astype(np.float32)
        np.save(folder / "rows.npy", rows)
        (folder / "job.yaml").write_text(JOB)
        (folder / "plain.py").write_text(PLAIN.format(model=MODEL))
        (folder / "on_ray.py").write_text(f"MODEL = {MODEL!r}\n{RAY}")
        train = [*isthmus, "train", "job.yaml"]
        if {"start", "start-local", "completion", *REGISTRY} & set(wanted(NAMES)):
            first = [*train, "--set", "training.epochs=1"]
            subprocess.run(first, cwd=folder, check=True, capture_output=True)
        local = partial(seconds, train, folder)
        spread = partial(seconds, [*train, "--set", "training.workers=2"], folder)
        plain = partial(seconds, [sys.executable, "plain.py"], folder)
        on_ray = partial(seconds, [sys.executable, "on_ray.py"], folder)
        for benchmark in wanted(NAMES):
            if benchmark == "start":
                compare(benchmark, spread, on_ray, 1.1, better="lower", unit="s")
            elif benchmark == "start-local":
                compare(benchmark, local, plain, 1.5, better="lower", unit="s")
            elif benchmark in STATIC:
                compare(
                    benchmark,
                    partial(cpu_seconds, [*isthmus, *STATIC[benchmark]], folder),
                    partial(cpu_seconds, [*isthmus, "--help"], folder),
                    1.5,
                    better="lower",
                    unit="s",
                    pairs=7,
                )
            elif benchmark == "completion":
                compare(
                    benchmark,
                    partial(cpu_seconds, [sys.executable, "-c", COMPLETE], folder),
                    partial(cpu_seconds, [*isthmus, "--help"], folder),
                    1.5,
                    better="lower",
                    unit="s",
                    pairs=7,
                )
            elif benchmark in REGISTRY:
                compare(
                    benchmark,
                    partial(whole, [*isthmus, *REGISTRY[benchmark]], folder),
                    partial(whole, [sys.executable, "-c", "import mlflow"], folder),
                    2.0,
                    better="lower",
                    unit="s",
                    pairs=5,
                )
            else:
                compare(
                    benchmark,
                    partial(cpu_seconds, [*isthmus, "--help"], folder),
                    partial(cpu_seconds, [sys.executable, "-c", "import typer, rich"], folder),
                    1.5,
                    better="lower",
                    unit="s",
                    pairs=9,
                )


if __name__ == "__main__":
    main()

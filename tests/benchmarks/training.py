"""Training through the product, with logging and checkpoints on, against loops written by hand.

The references are what a user would write: the same layers, batch, optimizer, threads and
validation. What is timed on both sides is training alone, from the first step to the end of the
last epoch; how long it takes to begin is measured in `starting.py`.

    python tests/benchmarks/training.py [BENCHMARK ...]
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Clock, compare, wanted
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import isthmus
from isthmus.allocation import keep_freed_memory
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.jobs.train import TrainResult, train
from isthmus.launch.in_process import fit_in_process
from isthmus.launch.session import ray_session
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import JobSpec, Settings

LEARNING_RATE = 1e-3
# Each number of workers takes what learns most: one the default, which a warm-up makes worse; two,
# with half as many steps of twice the rows, a higher rate after a warm-up (Goyal et al. 2017,
# arXiv:1706.02677).
SCHEDULES = {
    1: {"learning_rate": LEARNING_RATE, "warm_up_epochs": 0},
    2: {"learning_rate": 8 * LEARNING_RATE, "warm_up_epochs": 1},
}
NAMES = (
    "train-small",
    "train-small-tuned",
    "train-conv",
    "log",
    "scale-small",
    "scale-large",
    "ddp-small",
    "ddp-large",
    "trainer",
)


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        row_shape: The shape of one row.
        rows: To train on; an eighth as many are validated after each epoch.
        batch: Rows of a step.
        epochs: Passes over them.
        job: The further fields of the job file.
        net: Makes the same layers for the reference.
    """

    row_shape: tuple[int, ...]
    rows: int
    batch: int
    epochs: int
    job: dict[str, Any]
    net: Callable[[], nn.Module]


def mlp(widths: tuple[int, ...]) -> nn.Module:
    """Widths from the row to the latent, and back."""

    def half(sizes: tuple[int, ...]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.GELU()]
        return layers[:-1]

    return nn.Sequential(*half(widths), *half(widths[::-1]))


def dense(widths: tuple[int, ...], rows: int, batch: int, epochs: int) -> Work:
    *hidden, latent = widths[1:]
    job = {
        "data": {"kind": "tabular"},
        "net": {"name": "dense", "hidden": hidden},
        "latent_dim": latent,
    }
    return Work(widths[:1], rows, batch, epochs, job, partial(mlp, widths))


def conv_net() -> nn.Module:
    """The layers of the net that `conv` gives, as anyone would write them down."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.GELU(),
        nn.Linear(256, 16),
        nn.Linear(16, 256),
        nn.GELU(),
        nn.Linear(256, 64 * 7 * 7),
        nn.GELU(),
        nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.GELU(),
        nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(32, 1, 3, padding=1),
    )


def conv() -> Work:
    job = {"data": {"kind": "images"}, "net": "conv", "latent_dim": 16}
    return Work((1, 28, 28), 8192, 128, 3, job, conv_net)


SMALL = dense((64, 256, 16), rows=65_536, batch=256, epochs=20)
LARGE = dense((784, 512, 256, 32), rows=16_384, batch=256, epochs=12)


class Bench:
    """Rows on disk, and both ways to train on them."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.work = work
        self.settings = Settings.from_environment({}, folder)
        generator = np.random.default_rng(0)
        # A tenth is validated and a tenth tested.
        shape = (work.rows * 10 // 8, *work.row_shape)
        factors = generator.standard_normal((shape[0], 12)).astype(np.float32)
        mixing = generator.standard_normal((12, int(np.prod(work.row_shape)))).astype(np.float32)
        values = np.tanh(factors @ mixing / 3)
        self.path = folder / "rows.npy"
        np.save(self.path, values.reshape(shape))
        self._processes = [
            ProcessPoolExecutor(1, get_context("spawn"), prepare_reference, (work, self.path))
            for _ in range(2)
        ]

    def close(self) -> None:
        for process in self._processes:
            process.shutdown()

    def by_hand(self, loop: str) -> float:
        """What a loop of `Reference` reaches."""
        return self._processes[0].submit(run_reference, loop).result()

    def limit(self) -> float:
        """The rate of each of two such loops that share nothing, over that of one alone."""
        alone = self.by_hand("by_tuned_loop")
        both = [process.submit(run_reference, "by_tuned_loop") for process in self._processes]
        return sum(each.result() for each in both) / (2 * alone)

    def ours(self, workers: int = 1) -> float:
        return self.rate(*self.run(workers))

    def rate(self, result: TrainResult, clock: Clock) -> float:
        """Training rows a second, over all workers."""
        return self.work.rows * result.epochs / clock.seconds

    def run(self, workers: int = 1, seed: int = 0) -> tuple[TrainResult, Clock]:
        clock = Clock()
        return train(self.spec(workers, seed), self.settings, clock), clock

    def without_log(self) -> float:
        """Seconds of the same training, of which nobody hears."""
        prepared, clock = prepare(self.spec(1)), Clock()
        with tempfile.TemporaryDirectory() as folder:
            fit_in_process(
                prepared.plan,
                prepared.spec.training,
                prepared.scaled,
                storage=lambda: CheckpointStorage(folder, "run"),
                is_resumed=False,
                reporter=clock,
            )
        return clock.seconds

    def spec(self, workers: int, seed: int = 0) -> JobSpec:
        work = self.work
        return check_job(
            {
                "name": "bench",
                "variant": "plain",
                **work.job,
                "data": {"path": str(self.path), "scaling": "none", **work.job["data"]},
                "training": {
                    "epochs": work.epochs,
                    "global_batch_size": work.batch * workers,
                    **SCHEDULES[workers],
                    "seed": seed,
                    "early_stopping": None,
                    "workers": workers,
                    "threads_per_worker": 1,
                },
            }
        )


class Reference:
    """The same work in loops written by hand.

    They run in a process of their own: how a process gets its memory is a part of what is
    compared, and ours settles that for all that it does.
    """

    def __init__(self, work: Work, path: Path) -> None:
        self.work = work
        values = torch.from_numpy(np.load(path))
        self.train = values[: work.rows]
        self.validation = values[work.rows : work.rows + work.rows // 8]

    def by_loader(self) -> float:
        """The loop of PyTorch's tutorials."""
        model = self.work.net()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        loss_of = nn.MSELoss()
        loader = DataLoader(TensorDataset(self.train), self.work.batch, shuffle=True)
        held_out = DataLoader(TensorDataset(self.validation), 4096)
        began_s = time.perf_counter()
        for _ in range(self.work.epochs):
            total = 0.0
            for (rows,) in loader:
                optimizer.zero_grad()
                loss = loss_of(model(rows), rows)
                loss.backward()
                optimizer.step()
                total += loss.item()
            with torch.no_grad():
                for (rows,) in held_out:
                    total += loss_of(model(rows), rows).item()
        return self.work.rows * self.work.epochs / (time.perf_counter() - began_s)

    def by_tuned_loop(self) -> float:
        """Rows indexed in memory, a fused optimizer, and no number read before it is needed."""
        model = self.work.net()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
        loss_of = nn.MSELoss()
        began_s = time.perf_counter()
        for _ in range(self.work.epochs):
            total = torch.zeros(())
            for indices in torch.randperm(len(self.train)).split(self.work.batch):
                rows: Tensor = self.train[indices]
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(model(rows), rows)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            with torch.no_grad():
                for rows in self.validation.split(4096):
                    total += loss_of(model(rows), rows)
            total.item()
        return self.work.rows * self.work.epochs / (time.perf_counter() - began_s)


_reference: Reference | None = None


def prepare_reference(work: Work, path: Path) -> None:
    global _reference
    torch.set_num_threads(1)
    _reference = Reference(work, path)


def run_reference(name: str) -> float:
    assert _reference is not None
    rate: float = getattr(_reference, name)()
    return rate


def scaling(name: str, bench: Bench) -> None:
    """Two workers against one: each takes the batch that the one takes. It has no target.

    Each pair has a seed of its own, for two seeds' losses are further apart than one worker's and
    two workers'. Beside it stands what the machine allows: a loop by hand in each of two processes
    that share nothing, over one.
    """
    losses: dict[int, list[float]] = {1: [], 2: []}
    limits: list[float] = []

    def measured(workers: int) -> float:
        if workers == 2:
            limits.append(bench.limit())
        result, clock = bench.run(workers, seed=len(losses[workers]))
        losses[workers].append(result.metrics["validation/loss"])
        return bench.rate(result, clock) / workers

    compare(
        name,
        partial(measured, 2),
        partial(measured, 1),
        None,
        unit="rows/s a worker",
        losses_of_two=losses[2],
        losses_of_one=losses[1],
        limits=limits,
    )


def by_hand_on_two(work: Work, path: Path) -> float:
    """Rows a second, over both workers, of a script as PyTorch's DDP tutorial has it."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        with ProcessPoolExecutor(2, get_context("spawn")) as processes:
            rates = [processes.submit(ddp_script, rank, meeting, work, path) for rank in (0, 1)]
            return min(each.result() for each in rates)


def ddp_script(rank: int, meeting: str, work: Work, path: Path) -> float:
    """One of two processes on gloo, with the same net, batch, rows and steps as ours."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    values = torch.from_numpy(np.load(path))
    data = TensorDataset(values[: work.rows])
    sampler: Any = DistributedSampler(data)
    loader = DataLoader(data, work.batch, sampler=sampler)
    held_out = DataLoader(TensorDataset(values[work.rows : work.rows + work.rows // 8]), 4096)
    model = DistributedDataParallel(work.net())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    loss_of = nn.MSELoss()
    distributed.barrier()
    began_s = time.perf_counter()
    for epoch in range(work.epochs):
        sampler.set_epoch(epoch)
        total = torch.zeros(())
        for (rows,) in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(rows), rows)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        with torch.no_grad():
            for (rows,) in held_out:
                total += loss_of(model.module(rows[rank::2]), rows[rank::2])
        distributed.all_reduce(total)
    seconds = time.perf_counter() - began_s
    # A model that outlives the group takes it down in its own end, where torch may wait for ever.
    del model, optimizer, loss
    distributed.barrier()
    distributed.destroy_process_group()
    return work.rows * work.epochs / seconds


class TenLines(LightningModule):
    """A LightningModule as its users write it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[0])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("validation/loss", nn.functional.mse_loss(self.net(batch[0]), batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE)


class Timer(Callback):
    """Seconds from the first batch to the end of the last epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.perf_counter()


def by_trainer(work: Work, path: Path, make: Callable[[], LightningModule]) -> float:
    """Rows a second of `Trainer.fit`, as Lightning's users call it."""
    values = torch.from_numpy(np.load(path))
    held_out = TensorDataset(values[work.rows : work.rows + work.rows // 8])
    timer = Timer()
    trainer = Trainer(
        max_epochs=work.epochs // 4,
        accelerator="cpu",
        callbacks=[timer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        make(),
        DataLoader(TensorDataset(values[: work.rows]), work.batch, shuffle=True),
        DataLoader(held_out, 4096),
    )
    return work.rows * (work.epochs // 4) / timer.seconds


def trainer(bench: Bench) -> None:
    """A variant in a plain Trainer against its layers in a module of ten lines."""
    work = bench.work
    hidden = work.job["net"]["hidden"]
    ours = partial(
        isthmus.build,
        "plain",
        row_shape=work.row_shape,
        latent_dim=work.job["latent_dim"],
        net={"name": "dense", "hidden": hidden},
    )
    compare(
        "trainer",
        partial(by_trainer, work, bench.path, ours),
        partial(by_trainer, work, bench.path, lambda: TenLines(work.net())),
        0.95,
    )


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as `isthmus train` does
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    for name in wanted(NAMES):
        work = conv() if name == "train-conv" else LARGE if "large" in name else SMALL
        with (
            tempfile.TemporaryDirectory() as folder,
            ray_session(None, 2),
            closing(Bench(work, Path(folder))) as bench,
        ):
            if name == "train-small":
                compare(name, bench.ours, partial(bench.by_hand, "by_loader"), 1.4)
            elif name == "train-small-tuned":
                compare(name, bench.ours, partial(bench.by_hand, "by_tuned_loop"), 0.95)
            elif name == "log":
                logged = partial(lambda made: made.run()[1].seconds, bench)
                compare(name, logged, bench.without_log, 1.05, better="lower", unit="s")
            elif name == "train-conv":
                compare(name, bench.ours, partial(bench.by_hand, "by_loader"), 1.1)
            elif name.startswith("ddp"):
                by_hand = partial(by_hand_on_two, work, bench.path)
                compare(name, partial(bench.ours, 2), by_hand, 0.9 if work is SMALL else 0.95)
            elif name == "trainer":
                trainer(bench)
            else:
                scaling(name, bench)


if __name__ == "__main__":
    main()

"""Training on a GPU against an eager loop written by hand, and against the device's own limit.

Both sides train the same layers with Adam on the same rows, which the device holds, and end at
equal validation losses; the reference is plain float32, as PyTorch is unless it is told otherwise.
Ours is what a job file gets that asks for nothing special. Of it the share of the device's dense
bfloat16 rate is printed, and of its memory's bandwidth; a multiplication of large matrices and a
copy give both limits in the same run. Without a GPU a line says so, and nothing is measured.

    python tests/benchmarks/gpu.py [dense] [conv] [small]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from measuring import Clock, compare, tell, wanted
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isthmus import variants
from isthmus.jobs.specs import check_job, plan_for
from isthmus.launch.in_process import fit_in_process
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import JobSpec
from isthmus.types import DataKind, ScalingMode

TARGET = 1.5
EPOCHS = 5
LOSS_TOLERANCE = 1.02
FACTORS = 24


@dataclass(frozen=True)
class Work:
    """What is trained: rows of a shape, with a net, in batches."""

    row_shape: tuple[int, ...]
    rows: int
    batch: int
    net: dict[str, Any]
    latent_dim: int


WORKS = {
    "dense": Work((1024,), 262_144, 8192, {"name": "dense", "hidden": [4096, 2048]}, 256),
    "conv": Work((3, 64, 64), 32_768, 512, {"name": "conv"}, 128),
    "small": Work((64,), 65_536, 256, {"name": "dense", "hidden": [256]}, 16),
}


class Bench:
    """One work, both ways."""

    def __init__(self, work: Work) -> None:
        self.work = work
        kind = DataKind.TABULAR if len(work.row_shape) == 1 else DataKind.IMAGES
        self.spec: JobSpec = check_job(
            {
                "name": "gpu",
                "data": {"path": "rows.npy", "kind": kind},
                "net": work.net,
                "latent_dim": work.latent_dim,
                "training": {
                    "epochs": EPOCHS,
                    "global_batch_size": work.batch,
                    "early_stopping": None,
                    "device": "gpu",
                },
            }
        )
        data = self.spec.data.model_copy(update={"scaling": ScalingMode.NONE})
        self.plan = plan_for(self.spec, data, work.row_shape)
        rows = _rows(work.rows * 9 // 8, work.row_shape)
        ones = (1,) * len(work.row_shape)
        self.rows = ScaledRows(
            train=rows[: work.rows],
            validation=rows[work.rows :],
            offset=np.zeros(ones, np.float32),
            scale=np.ones(ones, np.float32),
        )
        self.losses: dict[str, list[float]] = {"ours": [], "reference": []}

    def ours(self) -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            result = fit_in_process(
                self.plan,
                self.spec.training,
                self.rows,
                storage=lambda: CheckpointStorage(folder, "run"),
                is_resumed=False,
                reporter=clock,
            )
        self.losses["ours"].append(result.progress.history[-1].validation["loss"])
        return self.work.rows * EPOCHS / clock.seconds

    def by_eager_loop(self) -> float:
        torch.manual_seed(0)
        module = variants.build(self.plan)
        model = nn.Sequential(module.encoder, module.decoder).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=self.spec.training.learning_rate)
        train = torch.from_numpy(self.rows.train).cuda()
        validation = torch.from_numpy(self.rows.validation).cuda()
        features = train[0].numel()
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        for _ in range(EPOCHS):
            for indices in torch.randperm(len(train), device="cuda").split(self.work.batch):
                rows = train[indices]
                optimizer.zero_grad()
                # Of a row, as ours: the learning rate means the same.
                loss = features * nn.functional.mse_loss(model(rows), rows)
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                total = 0.0
                for rows in validation.split(4096):
                    error = nn.functional.mse_loss(model(rows), rows, reduction="sum")
                    total += error.item()
        torch.cuda.synchronize()
        self.losses["reference"].append(total / len(validation))
        return self.work.rows * EPOCHS / (time.perf_counter() - began_s)

    def holds(self) -> bool:
        """Whether ours ended at a validation loss no worse."""
        ours, reference = (float(np.median(each)) for each in self.losses.values())
        return ours <= LOSS_TOLERANCE * reference

    def operations_a_row(self) -> float:
        """Multiplications and additions of a step: forward, and twice as many backward."""
        from torch.utils.flop_counter import FlopCounterMode

        module = variants.build(self.plan)
        rows = torch.from_numpy(self.rows.train[:8])
        with FlopCounterMode(display=False) as counter:
            nn.functional.mse_loss(module.decoder(module.encoder(rows)), rows).backward()
        return counter.get_total_flops() / len(rows)

    def bytes_a_row(self) -> float:
        """What the kernels of a step read and write, each operand once."""
        module = variants.build(self.plan).cuda()
        rows = torch.from_numpy(self.rows.train[: self.work.batch]).cuda()
        with _Bytes() as counter:
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                loss = nn.functional.mse_loss(module.decoder(module.encoder(rows)), rows)
            loss.backward()
        parameters = sum(each.numel() for each in module.parameters())
        # Adam reads the weight, the gradient and both moments, and writes all but the gradient.
        return (counter.bytes + 7 * 4 * parameters) / len(rows)


class _Bytes(TorchDispatchMode):
    """Counts the bytes of all operands of what is not a mere view."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            found = [each for each in tree_leaves((args, made)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(each.numel() * each.element_size() for each in found)
        return made


def _rows(count: int, row_shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows in [0, 1] of a few factors and a little noise: something to learn."""
    random = np.random.default_rng(0)
    features = int(np.prod(row_shape))
    factors = random.standard_normal((count, FACTORS), dtype=np.float32)
    loadings = random.standard_normal((FACTORS, features), dtype=np.float32)
    rows = factors @ loadings / np.float32(FACTORS**0.5)
    rows += np.float32(0.1) * random.standard_normal(rows.shape, dtype=np.float32)
    return (1 / (1 + np.exp(-rows))).reshape(count, *row_shape)


def matrix_rate(size: int = 8192) -> float:
    """Operations a second of a product of large bfloat16 matrices."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b)


def bandwidth(numbers: int = 1 << 29) -> float:
    """Bytes a second of a copy, those read and those written."""
    a = torch.randn(numbers, device="cuda")
    b = torch.empty_like(a)
    return 8 * numbers / _seconds(lambda: b.copy_(a))


def _seconds(work: Callable[[], Any], turns: int = 20) -> float:
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    began_s = time.perf_counter()
    for _ in range(turns):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - began_s) / turns


def main() -> None:
    names = wanted(tuple(WORKS))
    if not torch.cuda.is_available():
        tell("train-step-gpu", met=None, target=TARGET, why="this machine has no GPU")
        return
    for name in names:
        bench = Bench(WORKS[name])
        bench.ours()  # libraries load, and the device wakes up
        bench.by_eager_loop()
        rate = bench.ours()
        compare(
            f"train-step-gpu-{name}",
            bench.ours,
            bench.by_eager_loop,
            TARGET,
            holds=bench.holds,
            share_of_bf16_matrix_rate=rate * bench.operations_a_row() / matrix_rate(),
            share_of_bandwidth=rate * bench.bytes_a_row() / bandwidth(),
            batch=bench.work.batch,
            losses=bench.losses,
        )


if __name__ == "__main__":
    main()

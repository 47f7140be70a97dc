"""Training on a GPU against an eager loop written by hand, and against the device's own limit.

Both sides train the same layers with Adam on the same rows, which the device holds; the reference
is plain float32, as PyTorch is unless it is told otherwise. Of ours the share of the device's
dense bfloat16 rate is printed, which a multiplication of large matrices gives in the same run.
Without a GPU a line says so, and nothing is measured.

    python tests/benchmarks/gpu.py
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from measuring import Clock, compare, tell
from torch import nn

from isthmus import variants
from isthmus.jobs.specs import check_job, plan_for
from isthmus.spec import JobSpec
from isthmus.training import CheckpointStorage, ScaledRows, fit_here
from isthmus.types import DataKind, ScalingMode

TARGET = 1.5
EPOCHS = 5


@dataclass(frozen=True)
class Work:
    """What is trained: rows of a shape, with a net, in batches."""

    name: str
    row_shape: tuple[int, ...]
    rows: int
    batch: int
    net: dict[str, Any]
    latent_dim: int


WORKS = (
    Work("dense", (1024,), 262_144, 8192, {"name": "dense", "hidden": [4096, 2048]}, 256),
    Work("conv", (3, 64, 64), 32_768, 512, {"name": "conv"}, 128),
)


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
        shape = (work.rows * 9 // 8, *work.row_shape)
        rows = np.random.default_rng(0).random(shape, dtype=np.float32)
        ones = (1,) * len(work.row_shape)
        self.rows = ScaledRows(
            train=rows[: work.rows],
            validation=rows[work.rows :],
            offset=np.zeros(ones, np.float32),
            scale=np.ones(ones, np.float32),
        )

    def ours(self) -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            fit_here(
                self.plan,
                self.spec.training,
                self.rows,
                storage=lambda: CheckpointStorage(folder, "run"),
                is_resumed=False,
                reporter=clock,
            )
        return self.work.rows * EPOCHS / clock.seconds

    def by_eager_loop(self) -> float:
        module = variants.build(self.plan)
        model = nn.Sequential(module.encoder, module.decoder).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        train = torch.from_numpy(self.rows.train).cuda()
        validation = torch.from_numpy(self.rows.validation).cuda()
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        for _ in range(EPOCHS):
            for indices in torch.randperm(len(train), device="cuda").split(self.work.batch):
                rows = train[indices]
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(rows), rows)
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                for rows in validation.split(4096):
                    nn.functional.mse_loss(model(rows), rows).item()
        torch.cuda.synchronize()
        return self.work.rows * EPOCHS / (time.perf_counter() - began_s)

    def operations_a_row(self) -> float:
        """Multiplications and additions of a step: forward, and twice as many backward."""
        from torch.utils.flop_counter import FlopCounterMode

        module = variants.build(self.plan)
        rows = torch.from_numpy(self.rows.train[:8])
        with FlopCounterMode(display=False) as counter:
            nn.functional.mse_loss(module.decoder(module.encoder(rows)), rows).backward()
        return counter.get_total_flops() / len(rows)


def matrix_rate(size: int = 8192, turns: int = 20) -> float:
    """Operations a second of a product of large bfloat16 matrices."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    began_s = time.perf_counter()
    for _ in range(turns):
        a @ b
    torch.cuda.synchronize()
    return 2 * size**3 * turns / (time.perf_counter() - began_s)


def main() -> None:
    if not torch.cuda.is_available():
        tell("train-step-gpu", met=None, target=TARGET, why="this machine has no GPU")
        return
    for work in WORKS:
        bench = Bench(work)
        share = bench.ours() * bench.operations_a_row() / matrix_rate()
        compare(
            f"train-step-gpu-{work.name}",
            bench.ours,
            bench.by_eager_loop,
            TARGET,
            share_of_bf16_matrix_rate=share,
            batch=work.batch,
        )


if __name__ == "__main__":
    main()

"""Workers that train on patches together: shared evenly, resumed exactly, images sent by name."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from isthmus import nets
from isthmus.data import ScalingStatistics, TrainingPatches
from isthmus.data.patches import WholeImages
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import Progress
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import ModelPlan, PluginSpec, TrainingSpec
from isthmus.strategies.context import WorkerContext
from isthmus.training.worker_loop import WorkerTask, train_worker
from tests.distributed.small_jobs import same_weights
from tests.together import run_together

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
PATCH = 16


class Lost(Exception):
    """A worker is lost."""


def plan() -> ModelPlan:
    net = PluginSpec(name="unet", options={"channels": (4, 4), "skip_channels": 2})
    made = nets.made_for(net, (1, PATCH, PATCH))
    return ModelPlan(
        kind="images",
        row_shape=(1, PATCH, PATCH),
        latent_dim=made.fixed_latent_dim(),
        variant=PluginSpec(name="noise2noise"),
        net=net,
        reconstruction="mse",
    )


def rows(folder: Path) -> ScaledRows:
    """Noisy pictures of several sizes, whose pixels are in a file, and again with other noise."""
    sizes = np.array([(20 + number % 5, 30 - number % 7) for number in range(12)])
    generator = np.random.default_rng(0)
    count = int(sizes.prod(axis=1).sum())
    clean = 128 + 60 * np.sin(np.arange(count) / 9)
    views = []
    for name in ("first", "second"):
        noisy = np.clip(clean + 20 * generator.standard_normal(count), 0, 255).astype(np.uint8)
        noisy.tofile(folder / name)
        views.append(WholeImages(1, sizes, np.memmap(folder / name, np.uint8, "r")))
    white = ScalingStatistics(np.zeros((1, 1, 1), np.float32), np.full((1, 1, 1), 255, np.float32))
    patches = TrainingPatches(tuple(views), np.arange(2, 12), PATCH, 200, ("flip",), white)
    held_out = TrainingPatches(tuple(views), np.arange(2), PATCH, 1, (), white).sample()
    return ScaledRows(patches, held_out, white.offset, white.scale)


def share(
    rank: int, workers: int, folder: Path, name: str, scaled: ScaledRows, lost_after: int | None
) -> None:
    """This worker's part of a run, which goes on from its last checkpoint."""
    context = WorkerContext(
        rank=rank,
        workers=workers,
        local_rank=rank,
        workers_here=workers,
        device=torch.device("cpu"),
    )
    storage, checkpoints = CheckpointStorage(str(folder), name), 0

    def keep(kept: Path | None, progress: Progress) -> None:
        nonlocal checkpoints
        if kept:
            storage.keep(kept)
        torch.distributed.barrier()
        checkpoints += 1
        if checkpoints == lost_after:
            raise Lost

    options = {"epochs": 4, "global_batch_size": 24, "early_stopping": None, "workers": workers}
    if lost_after is not None:
        options["checkpoint_interval_s"] = 0
    task = WorkerTask(plan(), TrainingSpec.model_validate(options))
    with nullcontext() if lost_after is None else pytest.raises(Lost), storage.last() as last:
        train_worker(task, scaled, context, None, keep, last)


def result(folder: Path, name: str) -> FitResult:
    with CheckpointStorage(str(folder), name).last() as last:
        return FitResult.read(last)


def test_two_workers_learn_from_the_same_patches_as_one_and_a_lost_run_resumes_exactly(
    tmp_path: Path,
) -> None:
    scaled = rows(tmp_path)
    run_together(1, share, tmp_path, "alone", scaled, None)
    run_together(2, share, tmp_path, "together", scaled, None)
    run_together(2, share, tmp_path, "hurt", scaled, 2)
    assert not result(tmp_path, "hurt").progress.finished
    run_together(2, share, tmp_path, "hurt", scaled, None)
    alone, together, hurt = (result(tmp_path, name) for name in ("alone", "together", "hurt"))
    assert same_weights(together, hurt)
    assert together.state is not None
    assert alone.state is not None
    for one, two in zip(alone.progress.history, together.progress.history, strict=True):
        assert two.train["loss"] == pytest.approx(one.train["loss"], rel=1e-3)
        assert two.validation["loss"] == pytest.approx(one.validation["loss"], rel=1e-3)
    losses = [each.validation["loss"] for each in together.progress.history]
    assert losses[-1] < losses[0]

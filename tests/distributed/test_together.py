"""What workers do together in training, without Ray, whose workers take seconds to start."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.training import CheckpointStorage, FitResult
from isthmus.training.checkpoints import Progress
from isthmus.training.strategies import WorkerContext
from isthmus.training.worker_loop import WorkerTask, train_worker
from tests.distributed.small_jobs import plan, rows, same_weights, training
from tests.together import run_together

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


class Lost(Exception):
    """Of a worker."""


def share(
    rank: int,
    workers: int,
    folder: Path,
    runs: dict[str, tuple[str, dict[str, Any]]],
    lost_after: int | None = None,
) -> None:
    """This worker's part of runs, one after another; each goes on from its last checkpoint.

    `lost_after` is the epoch after which all workers are lost.
    """
    context = WorkerContext(
        rank=rank,
        workers=workers,
        local_rank=rank,
        workers_here=workers,
        device=torch.device("cpu"),
    )
    for name, (variant, options) in runs.items():
        storage = CheckpointStorage(str(folder), name)

        def keep(
            kept: Path | None, progress: Progress, storage: CheckpointStorage = storage
        ) -> None:
            if lost_after is not None and progress.epochs > lost_after:
                raise Lost
            assert (kept is not None) == (rank == 0)
            if kept:
                storage.keep(kept)
            torch.distributed.barrier()

        task = WorkerTask(plan(variant), training(workers=workers, **options))
        end = nullcontext() if lost_after is None else pytest.raises(Lost)
        with end, storage.last() as last:
            train_worker(task, rows(), context, None, keep, last)


def trained(
    folder: Path, runs: dict[str, tuple[str, dict[str, Any]]], workers: int = 2
) -> list[FitResult]:
    run_together(workers, share, folder, runs)
    return [result(folder, name) for name in runs]


def result(folder: Path, name: str) -> FitResult:
    with CheckpointStorage(str(folder), name).last() as last:
        return FitResult.read(last)


@pytest.mark.parametrize(
    "variant",
    ["denoising", "vqvae", "residual_vq", "topk", "batchtopk", "dagmm", "deep_svdd", "vamp"],
)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path: Path, variant: str) -> None:
    short = {"epochs": 2}
    runs = {"first": (variant, short), "again": (variant, short)}
    other = {"other": (variant, {**short, "seed": 1})}
    first, again, different = trained(tmp_path, runs | other)
    assert first.progress.finished
    assert same_weights(first, again)
    assert not same_weights(first, different)


@pytest.mark.parametrize(
    "options",
    [{"weight_average_decay": 0.9, "schedule": "cosine"}, {"accumulate_batches": 2}],
    ids=["averages", "parts"],
)
def test_a_run_that_goes_on_from_a_checkpoint_ends_as_if_nothing_had_been(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = trained(tmp_path, {"whole": ("denoising", {"epochs": 12, **options})})[0]
    hurt_run = {"hurt": ("denoising", {"checkpoint_interval_s": 0, "epochs": 12, **options})}
    run_together(2, share, tmp_path, hurt_run, 4)
    assert result(tmp_path, "hurt").progress.epochs == 4
    (hurt,) = trained(tmp_path, hurt_run)
    assert hurt.progress.finished
    assert hurt.progress.attempt == 2
    assert [report.epoch for report in hurt.progress.history] == list(range(1, 13))
    assert same_weights(whole, hurt)


def test_early_stopping_ends_all_workers_at_the_same_epoch(tmp_path: Path) -> None:
    options = {"epochs": 500, "learning_rate": 0.05, "early_stopping": {"patience": 3}}
    (stopped,) = trained(tmp_path, {"early": ("denoising", options)})
    losses = [report.validation["loss"] for report in stopped.progress.history]
    assert stopped.progress.finished
    assert stopped.progress.epochs == stopped.progress.best_epoch + 3 < 500
    assert stopped.progress.best_loss == min(losses) == losses[stopped.progress.best_epoch - 1]


def test_an_automatic_batch_size_leaves_enough_steps_in_an_epoch(tmp_path: Path) -> None:
    options = {"epochs": 1, "global_batch_size": "auto"}
    (automatic,) = trained(tmp_path, {"auto": ("denoising", options)})
    assert automatic.progress.global_batch_size == 32

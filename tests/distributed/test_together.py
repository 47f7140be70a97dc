"""What workers do together in training, without Ray, whose workers take seconds to start."""

from __future__ import annotations

import math
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import LAST, Progress
from isthmus.progress.reporter import EpochReport
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.progress.uploads import copy_checkpoint
from isthmus.strategies.context import WorkerContext
from isthmus.training import epoch_end, memory
from isthmus.training.worker_loop import WorkerTask, train_worker
from tests.distributed.small_jobs import RecordingSender, plan, rows, same_weights, training
from tests.together import run_together

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

# PowerSGD compresses matrices that are large beside its rank, such as 64 x 64 weights. Both
# hooks begin after 100 steps, of which an epoch of 300 rows has 15.
WIDE = (64, 64)
HOOKED: dict[str, Any] = {"global_batch_size": 20, "learning_rate": 3e-3}


class Lost(Exception):
    """A worker is lost."""


def share(
    rank: int,
    workers: int,
    folder: Path,
    runs: dict[str, tuple[str, dict[str, Any]]],
    lost_after: int | None = None,
    scaled: ScaledRows | None = None,
    hidden: tuple[int, ...] = (16,),
) -> None:
    """This worker's part of runs, one after another; each goes on from its last checkpoint.

    `lost_after` is the number of the checkpoint after which all workers are lost.
    """
    context = WorkerContext(
        rank=rank,
        workers=workers,
        local_rank=rank,
        workers_here=workers,
        device=torch.device("cpu"),
    )
    epoch_end._AGREE_S = 0.0  # a checkpoint may be of any batch
    for name, (variant, options) in runs.items():
        storage = CheckpointStorage(str(folder), name)
        merged = folder / f"{name}-merged"  # the files of all workers, as Ray Train merges them
        checkpoints = 0

        def keep(
            kept: Path | None,
            progress: Progress,
            storage: CheckpointStorage = storage,
            merged: Path = merged,
        ) -> None:
            assert kept is not None or rank > 0
            if kept:
                merged.mkdir(parents=True, exist_ok=True)
                copy_checkpoint(kept, merged)
            torch.distributed.barrier()
            if rank == 0:
                storage.keep(merged)
                shutil.rmtree(merged)
            torch.distributed.barrier()
            nonlocal checkpoints
            checkpoints += 1
            if checkpoints == lost_after:
                raise Lost

        task = WorkerTask(plan(variant, hidden), training(**{"workers": workers, **options}))
        end = nullcontext() if lost_after is None else pytest.raises(Lost)
        with end, storage.last() as last:
            train_worker(task, scaled or rows(), context, None, keep, last)


def trained(
    folder: Path,
    runs: dict[str, tuple[str, dict[str, Any]]],
    workers: int = 2,
    scaled: ScaledRows | None = None,
    hidden: tuple[int, ...] = (16,),
) -> list[FitResult]:
    run_together(workers, share, folder, runs, None, scaled, hidden)
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


@pytest.mark.parametrize("lost_after", [2, 13])
@pytest.mark.parametrize(
    "options",
    [{"weight_average_decay": 0.9, "schedule": "cosine"}, {"accumulate_batches": 2}],
    ids=["averages", "parts"],
)
def test_a_run_that_goes_on_from_a_checkpoint_ends_as_if_nothing_had_been(
    tmp_path: Path, options: dict[str, Any], lost_after: int
) -> None:
    whole = trained(tmp_path, {"whole": ("denoising", {"epochs": 6, **options})})[0]
    hurt_run = {"hurt": ("denoising", {"checkpoint_interval_s": 0, "epochs": 6, **options})}
    run_together(2, share, tmp_path, hurt_run, lost_after)
    before = result(tmp_path, "hurt").progress
    assert not before.finished
    (hurt,) = trained(tmp_path, hurt_run)
    assert hurt.progress.finished
    assert hurt.progress.attempt == 2
    assert [report.epoch for report in hurt.progress.history] == list(range(1, 7))
    assert same_weights(whole, hurt)
    for found, expected in zip(hurt.progress.history, whole.progress.history, strict=True):
        assert found.train == pytest.approx(expected.train, rel=1e-6)
        assert found.validation == expected.validation


def test_a_run_goes_on_within_an_epoch_with_more_workers_and_smaller_steps(tmp_path: Path) -> None:
    # Two workers take steps of 64 rows, and three of 63.
    elastic = {"workers": {"min": 2, "max": 3}, "checkpoint_interval_s": 0, "epochs": 2}
    run_together(2, share, tmp_path, {"run": ("plain", elastic)}, 90, rows(6400))
    before = result(tmp_path, "run").progress
    assert before.epochs == 0
    assert before.rows_done == 90 * 64
    (after,) = trained(tmp_path, {"run": ("plain", elastic)}, 3, rows(6400))
    assert after.progress.finished
    assert [report.epoch for report in after.progress.history] == [1, 2]
    # The 640 rows left take 11 steps of 63 rows, the last of them fewer, and all rows take 102.
    with CheckpointStorage(str(tmp_path), "run").last() as last:
        assert last is not None
        steps = torch.load(last / LAST, weights_only=True)["global_step"]
    assert steps == 90 + 11 + 102


def reconstruction(report: EpochReport) -> float:
    return report.train.get("reconstruction", report.train["loss"])


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("variant", ["plain", "usad", "wae_mmd"])
def test_workers_that_share_each_step_train_as_one_does(
    tmp_path: Path, workers: int, variant: str
) -> None:
    options = {"global_batch_size": 60, "learning_rate": 1e-2, "epochs": 4}
    ours = (variant, options)
    (one,) = trained(tmp_path / "one", {"run": ours}, 1, rows(300))
    (several,) = trained(tmp_path / "several", {"run": ours}, workers, rows(300))
    assert one.state is not None
    assert several.state is not None
    # What looks at a batch as a whole looks at a worker's share of it: the range of the rows, or
    # all pairs of latents.
    rel = {"plain": 1e-3, "usad": 0.05, "wae_mmd": 0.2}[variant]
    for found, expected in zip(several.progress.history, one.progress.history, strict=True):
        assert reconstruction(found) == pytest.approx(reconstruction(expected), rel=rel)


def test_workers_that_take_a_step_in_parts_train_as_on_whole_steps(tmp_path: Path) -> None:
    # The last step has four rows for each worker, which are no three equal parts.
    options = {"global_batch_size": 60, "learning_rate": 1e-2, "epochs": 4}
    runs = {
        f"parts-{parts}": ("plain", {**options, "accumulate_batches": parts}) for parts in (1, 3)
    }
    whole, split = trained(tmp_path, runs, 2, rows(308))
    for found, expected in zip(split.progress.history, whole.progress.history, strict=True):
        assert found.train["loss"] == pytest.approx(expected.train["loss"], rel=1e-4)
        assert found.validation["loss"] == pytest.approx(expected.validation["loss"], rel=1e-4)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize(
    ("train_rows", "held_out"),
    [
        pytest.param(300, 1, id="one-held-out-row"),
        pytest.param(301, 2, id="fewer-held-out-rows-than-workers"),
        pytest.param(60 * 5 + 4, 50, id="a-last-step-of-one-row-each"),
        pytest.param(3, 5, id="a-row-for-each-worker"),
    ],
)
def test_workers_without_rows_take_part(
    tmp_path: Path, workers: int, train_rows: int, held_out: int
) -> None:
    made = rows(train_rows)
    few = replace(made, validation=made.validation[:held_out])
    options = {"global_batch_size": 60, "epochs": 2}
    runs = {name: (name, options) for name in ("plain", "wae_mmd", "vqvae")}
    for several in trained(tmp_path, runs, workers, few):
        assert several.progress.finished
        assert all(
            math.isfinite(report.validation["loss"]) and math.isfinite(report.train["loss"])
            for report in several.progress.history
        )
    (one,) = trained(tmp_path / "one", {"plain": ("plain", {**options, "epochs": 1})}, 1, few)
    first = result(tmp_path, "plain").progress.history[0]
    if train_rows % workers == 0:  # else a row is left out of each epoch
        # The same held-out rows are averaged, whoever has them.
        assert first.validation["loss"] == pytest.approx(
            one.progress.history[0].validation["loss"], rel=1e-4
        )


@pytest.mark.parametrize(
    ("hook", "rel", "hidden"),
    [
        ("powersgd", 5e-2, WIDE),
        # More than 1 MB of weights, which DistributedDataParallel sends in two buckets.
        ("powersgd", 0.2, (1024, 512)),
        ("post_local_sgd", 0.2, WIDE),
    ],
)
def test_a_communication_hook_changes_little_of_what_is_learned(
    tmp_path: Path, hook: str, rel: float, hidden: tuple[int, ...]
) -> None:
    options = {**HOOKED, "epochs": 15}
    runs = {name: ("plain", {**options, "comm_hook": name}) for name in ("none", hook)}
    exact, hooked = trained(tmp_path, runs, 2, rows(300), hidden)
    assert hooked.progress.best_loss == pytest.approx(exact.progress.best_loss, rel=rel)
    assert hooked.progress.best_loss != pytest.approx(exact.progress.best_loss, rel=1e-5)


@pytest.mark.parametrize(
    ("hook", "variant", "lost_after"),
    [
        ("powersgd", "plain", 99),
        ("powersgd", "plain", 120),
        ("powersgd", "usad", 107),
        ("post_local_sgd", "plain", 101),
        ("post_local_sgd", "plain", 120),
        ("post_local_sgd", "usad", 99),
        ("post_local_sgd", "usad", 107),
    ],
)
def test_a_run_with_a_communication_hook_goes_on_exactly(
    tmp_path: Path, hook: str, variant: str, lost_after: int
) -> None:
    options = {**HOOKED, "epochs": 9, "comm_hook": hook}
    (whole,) = trained(tmp_path, {"whole": (variant, options)}, 2, rows(300), WIDE)
    run = {"hurt": (variant, {**options, "checkpoint_interval_s": 0})}
    run_together(2, share, tmp_path, run, lost_after, rows(300), WIDE)
    before = result(tmp_path, "hurt").progress
    assert before.epochs * 300 + before.rows_done == lost_after * 20
    (hurt,) = trained(tmp_path, run, 2, rows(300), WIDE)
    assert hurt.progress.finished
    assert same_weights(whole, hurt)


def test_a_run_with_a_communication_hook_goes_on_with_another_number_of_workers(
    tmp_path: Path,
) -> None:
    options = {**HOOKED, "epochs": 9, "checkpoint_interval_s": 0, "workers": {"min": 2, "max": 3}}
    run = {"run": ("plain", {**options, "comm_hook": "post_local_sgd"})}
    run_together(2, share, tmp_path, run, 107, rows(300), WIDE)
    (after,) = trained(tmp_path, run, 3, rows(300), WIDE)
    assert after.progress.finished
    assert [report.epoch for report in after.progress.history] == list(range(1, 10))


@pytest.mark.usefixtures("torch_as_before")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"comm_hook": "bf16"}, "training.comm_hook=bf16 needs GPUs"),
        (
            {"strategy": "fsdp"},
            "training.strategy=fsdp needs GPUs, and this worker trains on a CPU",
        ),
    ],
)
def test_what_needs_gpus_is_refused_on_cpus_in_one_line(
    options: dict[str, Any], message: str
) -> None:
    sender = RecordingSender()
    context = WorkerContext(0, 2, 0, 2, torch.device("cpu"))
    task = WorkerTask(plan("plain"), training(workers=2, **options))
    train_worker(task, rows(), context, sender, lambda *kept: None)
    (error,) = sender.sent
    assert str(error).startswith(message)


def stop_at_an_epochs_end(rank: int, workers: int, folder: Path) -> None:
    """This worker's part of a run whose driver asks it to stop after the third epoch."""
    context = WorkerContext(rank, workers, rank, workers, torch.device("cpu"))
    epoch_end._AGREE_S = 1e9  # so that nobody asks within an epoch
    storage = CheckpointStorage(str(folder), "stopped")

    def keep(kept: Path | None, progress: Progress) -> None:
        if kept:
            storage.keep(kept)

    task = WorkerTask(plan("plain"), training(workers=workers, epochs=1000))
    sender = RecordingSender(stop_after=3) if rank == 0 else None
    train_worker(task, rows(), context, sender, keep)


def refuse_on_one(rank: int, workers: int) -> list[str]:
    """What this worker tells the driver of a step that does not fit the second worker's memory."""
    if rank == 1:
        memory._free_bytes = lambda *_: 0.0
    context = WorkerContext(rank, workers, rank, workers, torch.device("cpu"))
    sender = RecordingSender()
    task = WorkerTask(plan("plain"), training(workers=workers))
    train_worker(task, rows(), context, sender if rank == 0 else None, lambda *_: None)
    return [str(each) for each in sender.sent]


@pytest.mark.timeout(120)
def test_a_step_that_does_not_fit_the_memory_of_one_worker_is_refused_by_all() -> None:
    (told, _) = run_together(2, refuse_on_one)
    assert re.search(r"needs at least \d+ KiB and a worker may use 0 KiB; lower", told[0])


@pytest.mark.timeout(120)
def test_workers_that_are_stopped_at_the_end_of_an_epoch_all_end(tmp_path: Path) -> None:
    run_together(2, stop_at_an_epochs_end, tmp_path)
    progress = result(tmp_path, "stopped").progress
    assert not progress.finished
    assert progress.epochs == 4


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

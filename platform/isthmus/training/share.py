"""One worker's part of training: builds the module and runs Lightning's loop over its share."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy import float32, ndarray
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from isthmus import variants
from isthmus.allocation import free_memory_of
from isthmus.core import Autoencoder
from isthmus.errors import TrainingError
from isthmus.spec import ModelPlan, TrainingSpec
from isthmus.training import checkpoints
from isthmus.training.averaging import AveragedWeights
from isthmus.training.batch_size import PROBE_ROWS, choose_batch_size
from isthmus.training.batches import Batches, ResidentBatches, StoredBatches
from isthmus.training.checkpoints import Progress
from isthmus.training.epochs import EpochKeeper, KeepCheckpoint
from isthmus.training.error_meter import ErrorMeter
from isthmus.training.events import Sender
from isthmus.training.steps import EpochSteps, StopRequested
from isthmus.training.validation import Validation, ValidationBatches

if TYPE_CHECKING:
    from isthmus.data import StoredRows

_LIGHTNINGS_NAMES: dict[str, Any] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}
# Validation keeps no gradients, so it can take larger steps than training.
_VALIDATION_ROWS = 4096
# Of a GPU's free memory, for rows that would else be read from disk in each epoch.
_SHARE_OF_GPU = 0.5
_COPIED_ROWS = 65_536


@dataclass(frozen=True)
class ScaledRows:
    """What training sees: rows already scaled, and how they were.

    Attributes:
        train: Shape (N, *row_shape), or (N, 2, *row_shape) for a variant of two looks.
        validation: Shape (M, *row_shape), or (M, 2, *row_shape).
        offset: Broadcastable to a row; what scaling subtracted.
        scale: Broadcastable to a row; what it divided by.

    Rows that are stored are in a file of this machine, for they may not fit in its memory.
    """

    train: NDArray[float32] | StoredRows
    validation: NDArray[float32] | StoredRows
    offset: NDArray[float32]
    scale: NDArray[float32]

    def in_memory(self) -> ScaledRows:
        """The same, as another machine can have them."""
        return replace(self, train=self.train[:], validation=self.validation[:])


@dataclass(frozen=True)
class WorkerTask:
    """All that a worker is told.

    Attributes:
        plan: The autoencoder to build.
        training: The job's training options.
        measures_error: Whether validation also gives `mse`, which any two jobs can be compared by.
    """

    plan: ModelPlan
    training: TrainingSpec
    measures_error: bool = False


@dataclass(frozen=True)
class Place:
    """Where a worker finds itself.

    Attributes:
        rank: Which of the workers it is, from 0.
        workers: How many train together.
        workers_here: How many processes share this machine's cores and memory.
        device: What it trains on.
    """

    rank: int
    workers: int
    workers_here: int
    device: torch.device


def train_share(
    task: WorkerTask,
    rows: ScaledRows,
    place: Place,
    sender: Sender | None,
    keep: KeepCheckpoint,
    folder: Path | None = None,
    make_keeper: Callable[..., EpochKeeper] = EpochKeeper,
) -> None:
    """One worker's part of training.

    Args:
        task: What to train.
        rows: All rows; a worker takes its share of them.
        place: Which worker this is.
        sender: The line to the driver; only the first worker has one.
        keep: Keeps a checkpoint.
        folder: The checkpoint to go on from, if any.
        make_keeper: Makes the keeper of the books.
    """
    device = place.device
    _prepare_process(task.training, place.workers_here)
    free_memory_of(device)
    train_rows = _resident(rows.train, device)
    progress = checkpoints.read_progress(folder) if folder else Progress()
    if progress.finished:
        return
    best = {}
    if folder:
        progress.attempt += 1
        best = {key: value.to(device) for key, value in checkpoints.read_best(folder).items()}
    module = _build(task, rows)
    if device.type == "cuda":
        _take_channels_last(module)
    # A run that goes on keeps its batch size, however much memory is free now.
    progress.global_batch_size = progress.global_batch_size or _batch_size(
        task.training, module, train_rows, place
    )
    training = task.training.model_copy(
        update={
            "global_batch_size": progress.global_batch_size,
            "precision": _precision(task.training, device),
        }
    )
    module.configure_training(training, len(train_rows))
    batches = _batches(train_rows, training, place)
    decay = training.weight_average_decay
    averaged = AveragedWeights(decay) if decay is not None else None
    held_out = ValidationBatches(
        _resident(rows.validation, device), device, _VALIDATION_ROWS, place.rank, place.workers
    )
    validation = Validation(held_out, averaged, ErrorMeter() if task.measures_error else None)
    keeper = make_keeper(training, batches, validation, progress, best, sender, keep)
    module.automatic_optimization = False
    steps = EpochSteps(
        training, batches, averaged, keeper.after_step, keeper.wants_to_leave, place.workers_here
    )
    resume_from = folder / checkpoints.LAST if folder else None
    _fit(module, keeper, steps, training, device, resume_from)


def _batches(rows: Tensor | StoredRows, training: TrainingSpec, place: Place) -> Batches:
    kind = (
        partial(ResidentBatches, rows=rows)
        if isinstance(rows, Tensor)
        else partial(StoredBatches, rows=rows)
    )
    return kind(
        device=place.device,
        global_batch_size=training.rows_per_step,
        rank=place.rank,
        workers=place.workers,
        seed=training.seed,
        parts=training.accumulate_batches,
    )


def _batch_size(
    training: TrainingSpec, module: Autoencoder, rows: Tensor | StoredRows, place: Place
) -> int:
    if training.global_batch_size != "auto":
        return training.global_batch_size
    module.configure_training(training, len(rows))
    return choose_batch_size(
        module,
        torch.as_tensor(rows[:PROBE_ROWS], device=place.device),
        len(rows),
        workers=place.workers,
        workers_here=place.workers_here,
        parts=training.accumulate_batches,
    )


def _prepare_process(training: TrainingSpec, workers_here: int) -> None:
    cores = os.cpu_count() or 1
    torch.set_num_threads(training.threads_per_worker or max(1, cores // workers_here))
    # The same spec, data and seed give the same weights bit for bit, where torch can.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Which would besides fill all memory that is about to be overwritten.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")


def _build(task: WorkerTask, rows: ScaledRows) -> Autoencoder:
    torch.manual_seed(task.training.seed)
    module = variants.build(task.plan)
    module.scaling.fit(torch.from_numpy(rows.offset.copy()), torch.from_numpy(rows.scale.copy()))
    return module


def _resident(rows: NDArray[float32] | StoredRows, device: torch.device) -> Tensor | StoredRows:
    """The rows on the device that trains; of stored ones if that is a GPU with room for them."""
    if not isinstance(rows, ndarray):
        if device.type != "cuda" or _bytes(rows) > _SHARE_OF_GPU * torch.cuda.mem_get_info()[0]:
            return rows
        copied = torch.empty(rows.shape, device=device)
        for first in range(0, len(rows), _COPIED_ROWS):
            block = rows[first : first + _COPIED_ROWS]
            copied[first : first + len(block)] = torch.from_numpy(block)
        return copied
    with warnings.catch_warnings():
        # Ray's shared memory is read-only, and so is what we do with it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(rows).to(device)


def _bytes(rows: StoredRows) -> int:
    return prod(rows.shape) * 4


def _fit(
    module: Autoencoder,
    keeper: EpochKeeper,
    steps: EpochSteps,
    training: TrainingSpec,
    device: torch.device,
    resume_from: Path | None,
) -> None:
    try:
        trainer = _trainer(keeper, training, device)
        trainer.fit(module, steps, ckpt_path=resume_from, weights_only=True)
    except StopRequested:
        return
    except TrainingError as error:
        # Trying again would end the same way: tell the driver, and do not count a lost worker.
        if keeper.sender:
            keeper.sender.send(error)


def _trainer(keeper: EpochKeeper, training: TrainingSpec, device: torch.device) -> Trainer:
    if training.precision == "float16" and device.type == "cpu":
        raise TrainingError("training.precision=float16 needs a GPU; use bfloat16, float32 or auto")
    return Trainer(
        max_epochs=training.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        # Of each worker its own: what they share is exchanged in `EpochSteps` and `EpochKeeper`.
        strategy=SingleDeviceStrategy(device=device),
        callbacks=keeper.callbacks,
        precision=_LIGHTNINGS_NAMES[training.precision],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def _precision(training: TrainingSpec, device: torch.device) -> str:
    """The arithmetic of the step, settled."""
    wanted = training.precision
    if wanted == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if has_it else "float32"
    return wanted


def _take_channels_last(module: Autoencoder) -> None:
    """Convolutions of pictures get the layout that tensor cores compute in, and pass it on.

    In the other one they convert what they get and what they give. Weights keep theirs, for
    checkpoints and the optimizer go by it.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_pre_hook(_to_channels_last)


def _to_channels_last(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(
        each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each
        for each in inputs
    )

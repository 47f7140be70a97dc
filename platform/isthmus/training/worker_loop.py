"""Training on one worker: builds the module and fits it with Lightning's Trainer."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelSummary, ProgressBar
from torch import Tensor, nn

from isthmus import modules, own_process
from isthmus.errors import TrainingError
from isthmus.loaders.batches import Batches, ResidentBatches, StoredBatches, ValidationBatches
from isthmus.loaders.patch_batches import PatchBatches
from isthmus.loaders.scaled_rows import ScaledRows, are_patches, is_distributed, resident
from isthmus.loaders.shard_batches import ShardBatches
from isthmus.modules import AdversarialModule, AutoencoderModule
from isthmus.progress import checkpoints
from isthmus.progress.checkpoints import Progress
from isthmus.progress.events import Resumed, Sender
from isthmus.spec import TrainingSpec
from isthmus.strategies.choice import trainer_arguments, trains_alone
from isthmus.strategies.comm_hooks import CommHook
from isthmus.strategies.context import WorkerContext
from isthmus.training.averaging import AveragedWeights
from isthmus.training.checkpoint_writer import CheckpointWriter, KeepCheckpoint
from isthmus.training.driver_logger import DriverLogger
from isthmus.training.epoch_end import EpochEndCallback, StopRequested
from isthmus.training.error_meter import ErrorMeter
from isthmus.training.memory import PROBE_ROWS, StepProbe
from isthmus.training.starting_point import StartingPoint, is_comparable, tell_start
from isthmus.training.step_groups import GroupedBatches
from isthmus.training.worker_task import WorkerTask

if TYPE_CHECKING:
    from isthmus.data import StoredRows, TrainingPatches
    from isthmus.data.prepared.distributed_table import DistributedRows

_logger = logging.getLogger(__name__)
_LIGHTNINGS_NAMES: dict[str, Any] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}
# Validation keeps no gradients, so its batches can be larger than those of training. The feature
# maps of a conv net take dozens of times the memory of its rows.
_VALIDATION_ROWS = 4096
_VALIDATION_NUMBERS = 2**21


def train_worker(
    task: WorkerTask,
    rows: ScaledRows,
    context: WorkerContext,
    sender: Sender | None,
    keep: KeepCheckpoint,
    folder: Path | None = None,
    make_callback: Callable[..., EpochEndCallback] = EpochEndCallback,
    is_storing: Callable[[], bool] = lambda: False,
) -> None:
    """Trains one worker until the last epoch, early stopping, or a request to stop.

    Args:
        task: The autoencoder and how to train it.
        rows: All rows, of which the worker takes its share.
        context: The rank and device of this worker.
        sender: The channel to the driver; only the first worker has one.
        keep: Stores a checkpoint.
        folder: The folder of the checkpoint to resume from, if any.
        make_callback: Creates the callback that reports progress and saves checkpoints.
        is_storing: Returns whether an earlier checkpoint is not stored yet; the next then waits.
    """
    _prepare_process()
    progress = checkpoints.read_progress(folder) if folder else Progress()
    if sender:
        _tell_history(progress, sender)
    if progress.finished:
        return
    if folder:
        progress.attempt += 1
    try:
        module = _build(task, rows)
        train_rows = _train_rows(rows, context.device)
        training = _settled(task, module, train_rows, context, progress)
        batches = _batches(train_rows, training, context, module)
        _tell_steps(module, batches)
        decay = training.weight_average_decay
        averaged = AveragedWeights(decay) if decay is not None else None
        hook = _comm_hook(training, context, folder)
        writer = CheckpointWriter(keep, context, hook, averaged, folder, is_storing)
        begins_warm = task.weights is not None and not folder and is_comparable(module.autoencoder)
        books = make_callback(training, batches, progress, writer, sender)
        callbacks = [each for each in (averaged, *task.callbacks) if each is not None]
        callbacks += [ErrorMeter()] if task.measures_error else []
        callbacks += [hook, books]
        callbacks += [StartingPoint(progress, writer, sender)] if begins_warm else []
        loader: Batches | GroupedBatches = batches
        if _takes_groups(task, training, context):
            module.automatic_optimization = False
            loader = GroupedBatches(batches, books.sums, training, averaged)
        logger = DriverLogger(sender, books.sums) if task.callbacks else False
        trainer = _trainer(training, context, module, callbacks, logger, begins_warm)
        resume_from = folder / checkpoints.LAST if folder else None
        held_out = _held_out(rows, context)
        trainer.fit(module, loader, held_out, ckpt_path=resume_from, weights_only=True)
    except StopRequested:
        return
    except TrainingError as error:
        # A retry would fail in the same way: the driver is told, and no worker counts as lost.
        if sender:
            sender.send(error)


def _tell_history(progress: Progress, sender: Sender) -> None:
    """Sends what a checkpoint has behind it, which the log may lack, also of a finished run."""
    if progress.start is not None:
        tell_start(progress.start, sender)
    if progress.history:
        sender.send(Resumed(tuple(progress.history)))


def _prepare_process() -> None:
    own_process.settle()
    # The same spec, data and seed give bitwise equal weights, where torch supports that.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling takes time, and all of this memory is about to be overwritten.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")


def _build(task: WorkerTask, rows: ScaledRows) -> AutoencoderModule:
    training = task.training
    options: dict[str, Any] = {
        "learning_rate": training.learning_rate,
        "schedule": training.schedule,
        "warm_up_epochs": training.warm_up_epochs,
        "final_learning_rate_share": training.final_learning_rate_share,
        "weight_decay": training.weight_decay,
        "gradient_clip_norm": training.gradient_clip_norm,
    }
    if issubclass(modules.class_for(task.plan), AdversarialModule):
        options["accumulate_batches"] = training.accumulate_batches
    torch.manual_seed(training.seed)
    module = modules.build(task.plan, **options)
    if task.weights is not None:
        module.autoencoder.load_halves(task.weights)
        module.clock.is_warm = True
    module.scaling.fit(torch.from_numpy(rows.offset.copy()), torch.from_numpy(rows.scale.copy()))
    return module


def _train_rows(
    rows: ScaledRows, device: torch.device
) -> Tensor | StoredRows | DistributedRows | TrainingPatches:
    train = rows.train
    return train if is_distributed(train) or are_patches(train) else resident(train, device)


def _settled(
    task: WorkerTask,
    module: AutoencoderModule,
    rows: Tensor | StoredRows | DistributedRows | TrainingPatches,
    context: WorkerContext,
    progress: Progress,
) -> TrainingSpec:
    """Returns the training options with every `auto` resolved, given the free memory."""
    training, device = task.training, context.device
    precision = _precision(training, device)
    if precision == "float16" and device.type == "cpu":
        raise TrainingError("training.precision=float16 needs a GPU; use bfloat16, float32 or auto")
    probe = StepProbe(module.autoencoder, torch.as_tensor(_some(rows), device=device))
    # A resumed run keeps its batch size, however much memory is free now.
    if not progress.global_batch_size:
        progress.global_batch_size = (
            training.global_batch_size
            if training.global_batch_size != "auto"
            else probe.choose_batch_size(
                len(rows),
                device,
                workers=context.workers,
                workers_here=context.workers_here,
                parts=training.accumulate_batches,
            )
        )
    step_rows = progress.global_batch_size // context.workers
    at_once = max(1, min(step_rows, len(rows)) // training.accumulate_batches)
    probe.refuse_too_large(at_once, device, context.workers_here)
    torch.set_num_threads(
        training.threads_per_worker or probe.threads(at_once, context.workers_here)
    )
    return training.model_copy(
        update={"global_batch_size": progress.global_batch_size, "precision": precision}
    )


def _some(
    rows: Tensor | StoredRows | DistributedRows | TrainingPatches,
) -> Tensor | NDArray[np.float32]:
    if are_patches(rows):
        return rows.sample(PROBE_ROWS)
    return (rows.sample if is_distributed(rows) else rows)[:PROBE_ROWS]


def _batches(
    rows: Tensor | StoredRows | DistributedRows | TrainingPatches,
    training: TrainingSpec,
    context: WorkerContext,
    module: AutoencoderModule,
) -> Batches:
    kind: Callable[..., Batches]
    if isinstance(rows, Tensor):
        kind = partial(ResidentBatches, rows=rows)
    elif is_distributed(rows):
        kind = partial(ShardBatches, rows=rows)
    elif are_patches(rows):
        kind = partial(PatchBatches, rows=rows)
    else:
        kind = partial(StoredBatches, rows=rows)
    # An adversarial variant splits a step into its accumulated batches itself.
    parts = training.accumulate_batches if module.automatic_optimization else 1
    return kind(
        device=context.device,
        global_batch_size=training.rows_per_step,
        rank=context.rank,
        workers=context.workers,
        seed=training.seed,
        parts=parts,
    )


def _tell_steps(module: AutoencoderModule, batches: Batches) -> None:
    # Lightning would ask the loader for it before the loader has a checkpoint's state.
    module.clock.epoch_length = batches.steps_per_epoch, batches.batches_per_epoch
    # Not the batches: a copy of the module would copy their rows.
    module.weight_of = batches.weights


def _held_out(rows: ScaledRows, context: WorkerContext) -> ValidationBatches:
    most = _VALIDATION_NUMBERS // prod(rows.validation.shape[1:])
    return ValidationBatches(
        resident(rows.validation, context.device),
        context.device,
        max(1, min(_VALIDATION_ROWS, most)),
        context.rank,
        context.workers,
    )


def _comm_hook(training: TrainingSpec, context: WorkerContext, folder: Path | None) -> CommHook:
    own = checkpoints.read_worker_state(folder, context.rank, context.workers) if folder else None
    return CommHook(training, context, own)


def _takes_groups(task: WorkerTask, training: TrainingSpec, context: WorkerContext) -> bool:
    """Returns whether steps are grouped, and logs which path training takes."""
    why = _needs_single_steps(task, training, context)
    if why:
        _logger.info("Lightning takes each step by itself, because %s", why)
    else:
        _logger.info("one process takes its steps in groups, each a batch to Lightning")
    return why is None


def _needs_single_steps(
    task: WorkerTask, training: TrainingSpec, context: WorkerContext
) -> str | None:
    """Returns why steps cannot be grouped; `None` for one process that needs no single steps."""
    if not trains_alone(training) or context.workers > 1:
        return "several workers take it together"
    if task.callbacks:
        return "callbacks may look at each"
    if training.trainer:
        return "training.trainer may change it"
    if training.precision == "float16":
        return "it scales the gradients of float16"
    return None


def _trainer(
    training: TrainingSpec,
    context: WorkerContext,
    module: AutoencoderModule,
    callbacks: list[Callback],
    logger: DriverLogger | bool,
    begins_warm: bool,
) -> Trainer:
    if context.device.type == "cuda":
        _take_channels_last(module)
    arguments: dict[str, Any] = {
        "max_epochs": training.epochs,
        "accelerator": "gpu" if context.device.type == "cuda" else "cpu",
        "callbacks": callbacks,
        "precision": _LIGHTNINGS_NAMES[training.precision],
        "accumulate_grad_batches": (
            training.accumulate_batches if module.automatic_optimization else 1
        ),
        "logger": logger,
        "enable_checkpointing": any(isinstance(each, Checkpoint) for each in callbacks),
        "use_distributed_sampler": False,
        "inference_mode": False,  # some variants take gradients of held-out rows
        **trainer_arguments(training, context),
    }
    if begins_warm:
        arguments["num_sanity_val_steps"] = -1  # all held-out rows, for `StartingPoint`
    defaults = {
        # Lightning refuses a callback whose kind is turned off.
        "enable_progress_bar": any(isinstance(each, ProgressBar) for each in callbacks),
        "enable_model_summary": any(isinstance(each, ModelSummary) for each in callbacks),
        "num_sanity_val_steps": 0,
    }
    trainer = Trainer(**{**defaults, **training.trainer, **arguments})
    if context.is_in_ray and not trains_alone(training):
        from ray.train.lightning import prepare_trainer

        prepare_trainer(trainer)
    return trainer


def _precision(training: TrainingSpec, device: torch.device) -> str:
    """Returns the precision of the step, with `auto` resolved."""
    wanted = training.precision
    if wanted == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if has_it else "float32"
    return wanted


def _take_channels_last(module: AutoencoderModule) -> None:
    """Converts the inputs of 2D convolutions to channels-last, the layout of tensor cores.

    Otherwise the convolutions would convert their inputs and outputs. The weights keep their
    layout, because checkpoints and the optimizer depend on it.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_pre_hook(_to_channels_last)


def _to_channels_last(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(
        each.contiguous(memory_format=torch.channels_last) if each.ndim == 4 else each
        for each in inputs
    )

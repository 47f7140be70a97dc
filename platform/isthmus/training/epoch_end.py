"""The callback that reports progress, keeps the best weights and saves checkpoints.

Lightning calls it on every worker. Only the first worker hears the driver's request to stop, so it
broadcasts that to the others at agreed batches, about twice a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from isthmus.core.workers import gather_objects, sum_over_workers
from isthmus.errors import TrainingError
from isthmus.loaders.batches import Batches, mix_seed
from isthmus.modules import AutoencoderModule, rows_of
from isthmus.progress.checkpoints import Progress
from isthmus.progress.events import RowsDone, Sender, Started
from isthmus.progress.reporter import EpochReport, StepReport
from isthmus.spec import TrainingSpec
from isthmus.training.checkpoint_writer import CheckpointWriter
from isthmus.training.loss_sums import LossSums, per_row

_TRAINING_STREAM, _VALIDATION_STREAM = 1, 2
# How often the workers agree on whether to stop, and whether a checkpoint is due.
_AGREE_S = 0.5
_MOST_GROWTH = 8
# How often the driver is told the loss of an unfinished epoch.
_TELL_S = 5.0
# If training cannot resume in the middle of an epoch, Ctrl-C waits for the end of the epoch, unless
# the epoch has already taken longer than this.
_LONG_EPOCH_S = 5.0
_STATE = "isthmus_workers"


class StopRequested(Exception):
    """Ends Lightning's loop in the middle of an epoch; all workers raise it at the same batch."""


class EpochEndCallback(Callback):
    """Tracks and saves the progress on every worker; the first one also reports to the driver.

    Attributes:
        sums: The summed losses of the epoch's training rows.
        progress: The progress of training.
        checkpoints: Writes the checkpoints and keeps the best weights.
    """

    SAVES_WITHIN_EPOCHS: ClassVar[bool] = True
    """Whether checkpoints may be saved in the middle of an epoch."""

    def __init__(
        self,
        training: TrainingSpec,
        batches: Batches,
        progress: Progress,
        checkpoints: CheckpointWriter,
        sender: Sender | None,
    ) -> None:
        """Creates the callback.

        Args:
            training: The job's training options.
            batches: This worker's training batches.
            progress: The progress of training, new or from a checkpoint.
            checkpoints: Writes the checkpoints and keeps the best weights.
            sender: The channel to the driver; only the first worker has one.
        """
        self.sums = LossSums()
        self.progress = progress
        self._training = training
        self._batches = batches
        self._weights = batches.weights
        self.checkpoints = checkpoints
        self._sender = sender
        # Between batches only the first worker knows, because only it has a channel to the driver.
        self._is_stopping = False
        self._resumed: Mapping[str, Any] | None = None
        self._had_schedule: bool | None = None  # of the checkpoint, if there is one
        self._batches_between = self._next_agreement = 1
        self._agreed_s = 0.0
        self._told_s = time.monotonic()
        self._epoch_began_s = 0.0
        self._rows_at_begin = 0
        self._saved_s = time.monotonic()

    # -- Lightning's hooks, in the order of their calls -----------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the driver that the workers have started, and resumes an unfinished epoch."""
        self._agreed_s = time.monotonic()
        _settle_step_count(trainer)
        self.checkpoints.begin(trainer)
        if self._sender:
            self._sender.send(
                Started(
                    epochs=self._training.epochs,
                    rows=self._batches.rows_per_epoch,
                    first_epoch=trainer.current_epoch + 1,
                )
            )
        if self._had_schedule not in (None, bool(trainer.lr_scheduler_configs)):
            assert isinstance(pl_module, AutoencoderModule)  # noqa: S101 (for the type checker)
            whole = self.progress.epochs * self._batches.steps_per_epoch
            pl_module.settle_learning_rate(whole + self._batches.resumed_step)
        if self._resumed is not None:
            self._begin_epoch()
            self._resume_worker(trainer, pl_module, self._resumed)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds the epoch's noise, so that a resumed run draws the same numbers."""
        self._begin_epoch()
        self._seed(_TRAINING_STREAM, trainer.current_epoch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Sums the losses; at agreed batches also reports, saves, and stops if requested."""
        if isinstance(outputs, Mapping) and outputs:
            rows = len(rows_of(batch))
            # Lightning has divided the loss, but not its parts, by the accumulated batches.
            divisor = trainer.accumulate_grad_batches / self._weights(batch_idx, rows)
            self.sums.add({**outputs, "loss": outputs["loss"] * divisor}, rows)
        self._next_agreement -= 1
        # Half a step cannot be resumed, and the end of an epoch has its own hook.
        is_mid_step = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if self._next_agreement > 0 or is_mid_step or is_last:
            return
        if self._sender:
            self._sender.send(RowsDone(trainer.current_epoch + 1, self._batches.rows_done))
            self._tell_loss(self._sender, trainer.current_epoch + 1)
            self._is_stopping = self._sender.stop_was_requested()
        is_stopped, is_save_due, self._batches_between = trainer.strategy.broadcast(
            (
                self._is_stopping,
                self.save_is_due() and not self.checkpoints.is_storing(),
                self._paced(),
            )
        )
        self._next_agreement, self._agreed_s = self._batches_between, time.monotonic()
        if self.SAVES_WITHIN_EPOCHS and self._batches.is_resumable:
            if is_stopped or is_save_due:
                self.save(trainer)
            if is_stopped:
                raise StopRequested
        elif is_stopped and trainer.strategy.broadcast(self._epoch_is_long()):
            raise StopRequested

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds every validation with the same seed, so that its losses can be compared."""
        self._seed(_VALIDATION_STREAM, 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports the epoch, keeps the best weights, and checks whether to stop or save."""
        assert isinstance(pl_module, AutoencoderModule)  # noqa: S101 (for the type checker)
        self.progress.epochs = trainer.current_epoch + 1
        if self._sender:
            self._is_stopping = self._sender.stop_was_requested()
        summary = self._sum_up(self.sums.pop())
        self._is_stopping = summary.is_stopped  # the same on all workers, so that all end alike
        # Measured only now, because reading the sums waits for the GPU.
        elapsed_s = time.monotonic() - self._epoch_began_s
        report = EpochReport(
            epoch=self.progress.epochs,
            train=summary.train,
            validation=validation_losses(trainer),
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            rows_per_s=(self._batches.rows_per_epoch - self._rows_at_begin) / elapsed_s,
            attempt=self.progress.attempt,
        )
        self._refuse_divergence(report)
        self._keep_best(report, trainer)
        self.progress.history.append(report)
        if self._sender:
            self._sender.send(report)
        self.progress.finished = not summary.is_stopped and (
            report.epoch >= self._training.epochs or self._patience_is_over(report)
        )
        if summary.is_stopped or self.progress.finished or summary.is_save_due:
            self.save(trainer)
        trainer.should_stop |= summary.is_stopped or self.progress.finished

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves a final checkpoint if another callback or a limit of the Trainer ended training."""
        if not self.progress.finished and not self._is_stopping and self.progress.epochs:
            self.progress.finished = True
            self.save(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the state that each worker needs to resume in the middle of an epoch."""
        if self._is_in_epoch(trainer):
            checkpoint[_STATE] = gather_objects(self._worker_state())

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Reads the state that this worker needs to resume in the middle of an epoch."""
        self._had_schedule = bool(checkpoint.get("lr_schedulers"))
        states = checkpoint.get(_STATE)
        if states is None:
            return
        if len(states) == self._batches.workers:
            self._resumed = states[self._batches.rank]
            return
        # The number of workers changed: their noise is new, and the first gets all losses.
        sums: dict[str, float] = {}
        for state in states if self._batches.rank == 0 else ():
            for name, total in state["sums"].items():
                sums[name] = sums.get(name, 0.0) + total
        self._resumed = {"sums": sums, "rows_done": states[0]["rows_done"]}

    # -- its own work ---------------------------------------------------------------------------

    def save(self, trainer: Trainer) -> None:
        """Saves the state to resume from and the best weights; all workers must call it."""
        self.progress.rows_done = self._batches.rows_done if self._is_in_epoch(trainer) else 0
        self.checkpoints.write(trainer, self.progress)
        self._saved_s = time.monotonic()

    def save_is_due(self) -> bool:
        """Returns whether the checkpoint interval is over, by this worker's clock."""
        return time.monotonic() - self._saved_s >= self._training.checkpoint_interval_s

    def _tell_loss(self, sender: Sender, epoch: int) -> None:
        """Sends the loss of the epoch so far every few seconds, as reading it waits for a GPU."""
        if time.monotonic() - self._told_s < _TELL_S:
            return
        self._told_s = time.monotonic()
        totals = {name: float(total) for name, total in self.sums.totals().items()}
        done, steps = self._batches.rows_done, self._batches.steps_per_epoch
        if totals.get("rows"):
            step = round(steps * done / self._batches.rows_per_epoch)
            sender.send(StepReport(epoch, step, steps, done, per_row(totals)["loss"]))

    def _begin_epoch(self) -> None:
        self._epoch_began_s = time.monotonic()
        self._rows_at_begin = self._batches.resumed_rows

    def _epoch_is_long(self) -> bool:
        return time.monotonic() - self._epoch_began_s > _LONG_EPOCH_S

    def _is_in_epoch(self, trainer: Trainer) -> bool:
        return trainer.current_epoch >= self.progress.epochs

    def _worker_state(self) -> dict[str, Any]:
        state = {
            "sums": {name: float(total) for name, total in self.sums.totals().items()},
            "rows_done": self._batches.rows_done,
            "rng": torch.get_rng_state(),
        }
        if self._batches.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self._batches.device).cpu()
        return state

    def _resume_worker(
        self, trainer: Trainer, module: LightningModule, state: Mapping[str, Any]
    ) -> None:
        self.sums.load(state["sums"], module.device)
        if "rng" in state:
            torch.set_rng_state(state["rng"].cpu())
        else:
            self._seed(_TRAINING_STREAM, trainer.current_epoch + state["rows_done"])
        # Lightning may have counted groups of steps, or steps of another size. A checkpoint is
        # saved just before a batch counts as completed, which Lightning adds when it resumes.
        done: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        batches = self._batches.resumed_step * self._batches.batches_per_step
        done.ready = done.started = done.processed = batches
        done.completed = batches - 1
        if "cuda_rng" in state and self._batches.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self._batches.device)
        self._resumed = None

    def _seed(self, stream: int, epoch: int) -> None:
        seed = mix_seed(self._training.seed, stream, epoch, self._batches.rank)
        # Not `torch.manual_seed`: it formats a traceback for each kind of device that is missing.
        torch.default_generator.manual_seed(seed)
        if self._batches.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _paced(self) -> int:
        """Returns how many batches fill the time between two agreements."""
        elapsed_s = max(time.monotonic() - self._agreed_s, 1e-6)
        fitting = int(self._batches_between * _AGREE_S / elapsed_s)
        return max(1, min(fitting, self._batches_between * _MOST_GROWTH))

    def _sum_up(self, train: dict[str, Tensor]) -> _Summary:
        """Sums the losses and flags of all workers in one message."""
        sums = torch.stack([total.double() for total in train.values()])
        # An epoch that cannot be resumed in its middle is saved if it took long to train.
        is_late = not self._batches.is_resumable and self._epoch_is_long()
        is_due = self.save_is_due() or is_late
        flags = [self._is_stopping, is_due, self.checkpoints.is_storing()]
        numbers = sum_over_workers(torch.cat([sums, sums.new_tensor(flags)])).tolist()
        return _Summary(
            train=per_row(dict(zip(train, numbers, strict=False))),
            is_stopped=numbers[-3] > 0,
            is_save_due=numbers[-2] > 0 and numbers[-1] == 0,
        )

    def _refuse_divergence(self, report: EpochReport) -> None:
        for stage, losses in (("training", report.train), ("validation", report.validation)):
            if not math.isfinite(losses["loss"]):
                raise TrainingError(
                    f"the {stage} loss became {losses['loss']} in epoch {report.epoch}; lower "
                    f"training.learning_rate (now {self._training.learning_rate:g}) or set "
                    "training.gradient_clip_norm"
                )

    def _keep_best(self, report: EpochReport, trainer: Trainer) -> None:
        stopping = self._training.early_stopping
        margin = abs(self.progress.best_loss) * (stopping.min_delta if stopping else 0.0)
        # Infinity, of which there is no margin, stands for no earlier epoch.
        least = self.progress.best_loss
        if math.isinf(least) or report.validation["loss"] < least - margin:
            self.progress.best_loss = report.validation["loss"]
            self.progress.best_epoch = report.epoch
            self.checkpoints.take_best(trainer)

    def _patience_is_over(self, report: EpochReport) -> bool:
        stopping = self._training.early_stopping
        return stopping is not None and (
            report.epoch - self.progress.best_epoch >= stopping.patience
        )


@dataclass(frozen=True)
class _Summary:
    """The results of an epoch over all workers.

    Attributes:
        train: The mean losses over the training rows, by name.
        is_stopped: Whether any worker was asked to stop.
        is_save_due: Whether a checkpoint is due on any worker.
    """

    train: dict[str, float]
    is_stopped: bool
    is_save_due: bool


def validation_losses(trainer: Trainer) -> dict[str, float]:
    """Returns the mean losses over all workers' validation rows, as Lightning logged them."""
    prefix = "validation/"
    logged = {
        name.removeprefix(prefix): value
        for name, value in trainer.callback_metrics.items()
        if name.startswith(prefix)
    }
    if not logged:
        raise TrainingError(
            "an epoch ended without its held-out rows; leave out what stops or skips validation"
        )
    numbers = torch.stack([value.double().cpu() for value in logged.values()]).tolist()
    return dict(zip(logged, numbers, strict=True))


def _settle_step_count(trainer: Trainer) -> None:
    """Lets `trainer.global_step` go on where a run resumes in groups of steps, or no longer does.

    Lightning counts the steps of automatic and of manual optimisation apart.
    """
    loop = trainer.fit_loop.epoch_loop
    automatic = loop.automatic_optimization.optim_progress.optimizer.step.total
    manual = loop.manual_optimization.optim_step_progress.total
    steps = max(automatic.completed, manual.completed)
    automatic.ready = automatic.completed = manual.ready = manual.completed = steps

"""What happens at the edges of an epoch: seeds, sums over workers, the best weights, stopping."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.core.workers import sum_over_workers
from isthmus.errors import TrainingError
from isthmus.spec import TrainingSpec
from isthmus.training import checkpoints
from isthmus.training.batches import Batches, mix_seed
from isthmus.training.checkpoints import Progress
from isthmus.training.events import RowsDone, Seldom, Sender, Started
from isthmus.training.reporter import EpochReport
from isthmus.training.steps import EpochSteps
from isthmus.training.validation import Validation

_TRAINING_STREAM, _VALIDATION_STREAM = 1, 2
# A person who pressed Ctrl-C waits for the end of an epoch, but not for longer.
_LONG_EPOCH_S = 5.0


# Given a folder with a checkpoint of so many epochs; on all workers, with a folder on the first.
KeepCheckpoint = Callable[[Path | None, int], None]


class EpochKeeper(Callback):
    """Keeps the books of training on every worker; the first one also tells the driver."""

    def __init__(
        self,
        training: TrainingSpec,
        batches: Batches,
        validation: Validation,
        progress: Progress,
        best: dict[str, Tensor],
        sender: Sender | None,
        keep: KeepCheckpoint,
    ) -> None:
        """Args:
        training: The job's training options.
        batches: The training rows; told the epoch before each pass.
        validation: Finds the losses of held-out rows.
        progress: Where training stands: a new one, or a checkpoint's.
        best: The best weights so far; empty before the first epoch.
        sender: The line to the driver; only the first worker has one.
        keep: Keeps a checkpoint.
        """
        self.progress = progress
        self.best = best
        self._training = training
        self._batches = batches
        self._validation = validation
        # Kept instead of the trained weights, as it is what is validated.
        self._averaged = validation.averaged
        self.sender = sender
        self._keep = keep
        # As the first worker knows; the others have no line to the driver.
        self._is_stopping = False
        self._seldom = Seldom()
        self._epoch_began_s = 0.0
        self._saved_s = time.monotonic()

    @property
    def callbacks(self) -> list[Callback]:
        """What Lightning is to call: this, after the others that it reads."""
        return [each for each in (self._averaged, self) if each is not None]

    # -- Lightning's hooks, in the order in which they come -------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells the driver that the workers are up."""
        if self.sender:
            self.sender.send(
                Started(
                    epochs=self._training.epochs,
                    rows=self._batches.rows_per_epoch,
                    first_epoch=trainer.current_epoch + 1,
                )
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds the epoch's order and noise: a resumed epoch draws what it would have drawn."""
        self._batches.epoch = trainer.current_epoch
        self._seed(_TRAINING_STREAM, trainer.current_epoch)
        self._epoch_began_s = time.monotonic()

    def after_step(self, steps: int) -> None:
        """Tells the driver a few times a second how many rows of the epoch are through."""
        if self.sender and self._seldom.is_due():
            done = min(steps * self._batches.global_batch_size, self._batches.rows_per_epoch)
            self.sender.send(RowsDone(self._batches.epoch + 1, done))
            self._is_stopping = self.sender.stop_was_requested()

    def wants_to_leave(self) -> bool:
        """Whether this worker is to leave the epoch before its end.

        What the epoch has learned is then lost: a short one comes to its end.
        """
        return self._is_stopping and time.monotonic() - self._epoch_began_s > _LONG_EPOCH_S

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validates, sums up, reports, keeps the best weights, stops early, saves."""
        assert isinstance(pl_module, Autoencoder)  # noqa: S101 (for the type checker)
        self.progress.epochs = trainer.current_epoch + 1
        if self.sender:
            self._is_stopping = self.sender.stop_was_requested()
        # The same noise in every epoch, so that its losses can be compared.
        self._seed(_VALIDATION_STREAM, 0)
        validation = self._validation(trainer, pl_module)
        summary = self._sum_up(pl_module.pop_sums("train"), validation)
        # Only now: to read the sums is to wait for the GPU.
        elapsed_s = time.monotonic() - self._epoch_began_s
        report = EpochReport(
            epoch=self.progress.epochs,
            train=summary.train,
            validation=summary.validation,
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            rows_per_s=self._batches.rows_per_epoch / elapsed_s,
            attempt=self.progress.attempt,
        )
        self._refuse_divergence(report)
        self._keep_best(report, pl_module)
        self.progress.history.append(report)
        if self.sender:
            self.sender.send(report)
        self.progress.finished = not summary.is_stopped and (
            report.epoch >= self._training.epochs or self._patience_is_over(report)
        )
        if summary.is_stopped or self.progress.finished or summary.is_save_due:
            self.save(trainer)
        trainer.should_stop = summary.is_stopped or self.progress.finished

    # -- its own work ---------------------------------------------------------------------------

    def _seed(self, stream: int, epoch: int) -> None:
        seed = mix_seed(self._training.seed, stream, epoch, self._batches.rank)
        # `torch.manual_seed` formats a traceback for each kind of device that is not there.
        torch.default_generator.manual_seed(seed)
        if self._batches.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _sum_up(self, train: dict[str, Tensor], validation: dict[str, Tensor]) -> _Summary:
        """What all workers know of an epoch, in one message: each wakes every one of them."""
        sums = torch.stack([each.double() for each in (*train.values(), *validation.values())])
        flags = [float(self._is_stopping), float(self.save_is_due())]
        numbers = iter(sum_over_workers(torch.cat([sums, sums.new_tensor(flags)])).tolist())
        return _Summary(
            train=_per_row(dict(zip(train, numbers, strict=False))),
            validation=_per_row(dict(zip(validation, numbers, strict=False))),
            is_stopped=next(numbers) > 0,
            is_save_due=next(numbers) > 0,
        )

    def _refuse_divergence(self, report: EpochReport) -> None:
        for stage, losses in (("training", report.train), ("validation", report.validation)):
            if not math.isfinite(losses["loss"]):
                raise TrainingError(
                    f"the {stage} loss became {losses['loss']} in epoch {report.epoch}; lower "
                    f"training.learning_rate (now {self._training.learning_rate:g}) or set "
                    "training.gradient_clip_norm"
                )

    def _keep_best(self, report: EpochReport, module: Autoencoder) -> None:
        stopping = self._training.early_stopping
        margin = abs(self.progress.best_loss) * (stopping.min_delta if stopping else 0.0)
        # The first epoch's loss is compared with infinity, whose margin is no number.
        if report.epoch == 1 or report.validation["loss"] < self.progress.best_loss - margin:
            self.progress.best_loss = report.validation["loss"]
            self.progress.best_epoch = report.epoch
            state = self._averaged.state() if self._averaged else module.state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in state.items()}

    def _patience_is_over(self, report: EpochReport) -> bool:
        stopping = self._training.early_stopping
        return stopping is not None and (
            report.epoch - self.progress.best_epoch >= stopping.patience
        )

    def save_is_due(self) -> bool:
        """Whether the interval is over, as this worker's clock says."""
        return time.monotonic() - self._saved_s >= self._training.checkpoint_interval_s

    def save(self, trainer: Trainer) -> None:
        """Keeps what is needed to go on, and the best weights."""
        steps = trainer.train_dataloader
        assert isinstance(steps, EpochSteps)  # noqa: S101 (for the type checker)
        steps.gather(trainer.optimizers[0])
        with tempfile.TemporaryDirectory(prefix="isthmus-checkpoint-") as name:
            folder = Path(name)
            if self._batches.rank == 0:
                trainer.save_checkpoint(folder / checkpoints.LAST)
                checkpoints.write_side_files(folder, self.best, self.progress)
            self._keep(folder if self._batches.rank == 0 else None, self.progress.epochs)
        self._saved_s = time.monotonic()


@dataclass(frozen=True)
class _Summary:
    """An epoch, over all workers.

    Attributes:
        train: Means over the training rows, by name.
        validation: Means over the held-out rows.
        is_stopped: Whether any worker is to stop.
        is_save_due: Whether on any worker it is time to save.
    """

    train: dict[str, float]
    validation: dict[str, float]
    is_stopped: bool
    is_save_due: bool


def _per_row(sums: dict[str, float]) -> dict[str, float]:
    rows = sums.pop("rows")
    return {name: total / rows for name, total in sums.items()}

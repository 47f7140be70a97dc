"""The LightningModule part of an autoencoder: its steps, its optimizer and its logged losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from isthmus.core.learning_rate import learning_rate_schedule
from isthmus.core.reconstruction import Reconstruction

Stage = Literal["train", "validation", "test"]
# The learning rate of log variances, relative to that of weights. Adam moves every parameter by
# about the learning rate at each step, and a log variance has to move further than a weight. While
# it lags behind, the reconstruction loss has too little weight, and the posterior collapses. On
# digits this factor raised the evidence lower bound from -1 to 65 nats.
_LOG_VARIANCE_GAIN = 10.0


@dataclass(frozen=True)
class LossOutput:
    """The loss that a variant minimises, and its terms.

    Attributes:
        total: The loss, averaged over the batch, shape ().
        parts: The terms of the loss by name, averaged over the batch and not yet weighted, each of
            shape ().
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def means(self) -> dict[str, Tensor]:
        """Returns `loss` and the parts by name, but leaves out a part that is the loss itself."""
        parts = {name: part for name, part in self.parts.items() if part is not self.total}
        return {"loss": self.total, **parts}


class StepGroup(ABC):
    """A batch that stands for several optimizer steps and takes them itself."""

    @abstractmethod
    def take(self, module: Any) -> None:
        """Takes the steps and logs their losses; `module` is an `Autoencoder`."""


class TrainedByLightning(LightningModule, ABC):
    """A LightningModule that any Trainer can train, validate, test and predict with.

    Subclasses define `loss` and `reconstruct`. The hyperparameters of training are
    `learning_rate`, `schedule`, `warm_up_epochs`, `final_learning_rate_share`, `weight_decay` and
    `gradient_clip_norm`.
    """

    reconstruction: Reconstruction
    epoch_length: tuple[int, int] | None = None
    """The numbers of optimizer steps and of batches in an epoch. They are set where the loader's
    length does not give them, because the fast path for one process passes groups of steps to
    Lightning."""
    graph_steps: Tensor | None = None
    """The number of steps taken, shape (), while steps are recorded in a CUDA graph."""

    is_warm: bool = False
    """Whether training starts with trained weights, so that no term of the loss is warmed up."""

    _found_length: tuple[int, int] | None = None

    @abstractmethod
    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of a batch of scaled rows, shape (B, *row_shape)."""

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """Encodes and decodes rows. The result has their shape and units."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Computes the training loss of a batch, and logs it.

        Args:
            batch: Scaled rows, shape (B, *row_shape); a sequence whose first element they are, as
                `TensorDataset` yields it; or a `StepGroup`, which takes its own steps.
            batch_idx: The index of the batch within the epoch.

        Returns:
            The loss and its parts, each of shape (), or `None` for a `StepGroup`.
        """
        if isinstance(batch, StepGroup):
            batch.take(self)
            return None
        rows = rows_of(batch)
        means = self.training_loss(rows).means()
        self.log_losses("train", means, len(rows))
        return means

    def training_loss(self, rows: Tensor) -> LossOutput:
        """Returns the loss of a batch; under manual optimisation it also takes the step."""
        return self.loss(rows)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of validation rows, in the formats that `training_step` accepts."""
        self._evaluate("validation", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of test rows, in the formats that `training_step` accepts."""
        self._evaluate("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Reconstructs rows in data units, shape (B, *row_shape)."""
        return self.reconstruct(rows_of(batch))

    def log_losses(self, stage: Stage, means: Mapping[str, Tensor], rows: int) -> None:
        """Logs losses as `train/loss`, `validation/kl`, ..., averaged over all rows of the epoch.

        Args:
            stage: The stage that the losses are from.
            means: The losses by name, each of shape (), averaged over the rows.
            rows: The number of rows that they are averaged over.
        """
        self.log_dict(
            {f"{stage}/{name}": value for name, value in means.items()},
            # Lightning averages this over workers; an integer would lose the fractional part.
            batch_size=float(rows),  # type: ignore[arg-type]
            on_step=False,
            on_epoch=True,
            sync_dist=True,
        )

    def _evaluate(self, stage: Stage, batch: Any) -> None:
        rows = rows_of(batch)
        if torch.is_inference_mode_enabled():
            # Some losses compute gradients, which tensors created in this mode do not support.
            with torch.inference_mode(False), torch.no_grad():
                self._evaluate(stage, rows.clone())
            return
        if len(rows):
            self.log_losses(stage, self.loss(rows).means(), len(rows))
            return
        # A worker without rows must still take part in the all-reduce operations.
        means = self.loss(rows.new_zeros(2, *rows.shape[1:])).means()
        self.log_losses(stage, {name: torch.zeros_like(value) for name, value in means.items()}, 0)

    def configure_optimizers(self) -> Any:
        """Returns a fused AdamW and its learning-rate schedule, which is updated at every step."""
        return self._optimizer_of(self.parameters())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients by the Trainer's setting or, if it has none, by `gradient_clip_norm`."""
        norm = self.hparams["gradient_clip_norm"]
        if gradient_clip_val is not None or norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        # FSDP shards the gradients, and only its wrapper can compute their total norm.
        clip = getattr(self.trainer.model, "clip_grad_norm_", None)
        if clip is not None:
            clip(norm)
        else:
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, norm)

    def _optimizer_of(self, parameters: Iterable[nn.Parameter]) -> dict[str, Any]:
        """Returns an optimizer of the parameters and its schedule, as Lightning expects them."""
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self._parameter_groups(list(parameters)),
            lr=hparams["learning_rate"],
            weight_decay=hparams["weight_decay"],
            fused=True,
        )
        if hparams["schedule"] == "constant" and not hparams["warm_up_epochs"]:
            return {"optimizer": optimizer}  # the learning rate never changes
        epochs = self.trainer.max_epochs or -1
        scheduler = learning_rate_schedule(
            optimizer,
            schedule=hparams["schedule"],
            warm_up_steps=hparams["warm_up_epochs"] * self.steps_per_epoch,
            steps=epochs * self.steps_per_epoch if epochs > 0 else inf,
            final_share=hparams["final_learning_rate_share"],
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def settle_learning_rate(self, steps: int) -> None:
        """Sets the learning rates that the schedule has after so many steps.

        A resumed run needs it if it now has a schedule and had none, or the other way round: the
        checkpoint then says nothing about the one, or has left the learning rate low.
        """
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.get("initial_lr", group["lr"])
        for config in self.trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            scheduler.last_epoch = steps
            groups = scheduler.optimizer.param_groups
            parts = zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            for group, rate, factor in parts:
                group["lr"] = rate * factor(steps)

    def _parameter_groups(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Returns the parameters in groups; the reconstruction loss has its own group."""
        of_loss = {id(each) for each in self.reconstruction.parameters()}
        own = [each for each in parameters if id(each) in of_loss]
        groups: list[dict[str, Any]] = [
            {"params": [each for each in parameters if id(each) not in of_loss]}
        ]
        if own:
            rate = _LOG_VARIANCE_GAIN * self.hparams["learning_rate"]
            groups.append({"params": own, "lr": rate, "weight_decay": 0.0})
        return groups

    def _length_of_epoch(self) -> tuple[int, int]:
        """Returns the numbers of optimizer steps and of batches in an epoch."""
        if self.epoch_length is not None:
            return self.epoch_length
        trainer = self._trainer_if_any()
        if trainer is None:
            return 1, 1
        if self._found_length is None:
            total = trainer.estimated_stepping_batches  # asks the loader for its length
            steps = ceil(total / max(1, trainer.max_epochs or 1)) if 0 < total < inf else 1
            self._found_length = max(1, steps), max(1, steps) * trainer.accumulate_grad_batches
        return self._found_length

    def setup(self, stage: str) -> None:
        """Discards the epoch length of an earlier fit."""
        self._found_length = None

    def _trainer_if_any(self) -> Trainer | None:
        with suppress(RuntimeError):
            return self.trainer
        return None

    def warm_up(self, epochs: float) -> float | Tensor:
        """Returns the fraction of the first `epochs` epochs that training has completed.

        If half of all epochs is less than `epochs`, it is the fraction of that half.

        Returns:
            A value in (0, 1] that rises linearly with the optimizer steps. It is 1 outside
            training, where a loss must be the final objective, and where weights are trained
            already: a term that is let go of would have to be learned a second time. While steps
            are recorded in a CUDA graph, it is a tensor of shape (), because a graph records no
            Python numbers.
        """
        trainer = self._trainer_if_any()
        if not self.training or epochs <= 0 or trainer is None or self.is_warm:
            return 1.0
        if trainer.max_epochs and trainer.max_epochs > 0:
            # In a short job the final objective must still be trained for half of the epochs.
            epochs = min(epochs, trainer.max_epochs / 2)
        steps = self.global_step if self.graph_steps is None else self.graph_steps
        share = (steps + 1) / (epochs * self.steps_per_epoch)
        return share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps in one pass over the training rows; 1 without a trainer."""
        return self._length_of_epoch()[0]

    @property
    def batches_per_epoch(self) -> int:
        """The number of `loss` calls in one pass over the training rows; 1 without a trainer."""
        return self._length_of_epoch()[1]

    @property
    def training_rows(self) -> int:
        """The number of training rows; 1 without a trainer or if its loader has no `dataset`."""
        trainer = self._trainer_if_any()
        dataset = getattr(trainer and trainer.train_dataloader, "dataset", None)
        return 1 if dataset is None else len(dataset)


def rows_of(batch: Any) -> Tensor:
    """Returns the rows of a batch, which may be a sequence whose first element they are."""
    rows: Tensor = batch[0] if isinstance(batch, list | tuple) else batch
    return rows

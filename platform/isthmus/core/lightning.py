"""What makes an autoencoder an ordinary LightningModule: its steps, optimizer and logged losses."""

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
# Adam moves a number by the learning rate at each step, and a log variance has to go further than
# a weight: while it is behind, the reconstruction weighs too little, and the posterior collapses.
# On digits the evidence lower bound rose from -1 to 65 nats.
_LOG_VARIANCE_GAIN = 10.0


@dataclass(frozen=True)
class LossOutput:
    """What a variant minimises, and what it is made of.

    Attributes:
        total: Shape (). The loss, averaged over the batch.
        parts: Named terms of it, each of shape (), averaged over the batch, before weights.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def means(self) -> dict[str, Tensor]:
        """Returns `loss` and the parts by name, without a part that is the loss itself."""
        parts = {name: part for name, part in self.parts.items() if part is not self.total}
        return {"loss": self.total, **parts}


class StepGroup(ABC):
    """A batch that stands for several optimizer steps, which it takes by itself."""

    @abstractmethod
    def take(self, module: Any) -> None:
        """Takes its steps and logs their losses; `module` is an `Autoencoder`."""


class TrainedByLightning(LightningModule, ABC):
    """Trains, validates, tests and predicts under any Trainer, by its `loss`.

    Its hyperparameters say how it learns: `learning_rate`, `schedule`, `warm_up_epochs`,
    `final_learning_rate_share`, `weight_decay`, `gradient_clip_norm`.
    """

    reconstruction: Reconstruction
    epoch_length: tuple[int, int] | None = None
    """Optimizer steps and batches of an epoch, where the loader's length does not say them: the
    fast path of one process gives Lightning groups of steps."""
    graph_steps: Tensor | None = None
    """Steps taken, shape (), while steps are recorded in a CUDA graph."""

    _found_length: tuple[int, int] | None = None

    @abstractmethod
    def loss(self, x: Tensor) -> LossOutput:
        """The loss of a batch of scaled rows, shape (B, *row_shape)."""

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """Rows through the bottleneck and back, in the same shape and units."""

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Returns the loss of a batch and its parts, each of shape ().

        Args:
            batch: Scaled rows, shape (B, *row_shape), or a sequence that begins with them, as
                `TensorDataset` gives it; or a `StepGroup`, which takes steps of its own.
            batch_idx: The batch's number within the epoch.
        """
        if isinstance(batch, StepGroup):
            batch.take(self)
            return None
        rows = rows_of(batch)
        means = self.training_loss(rows).means()
        self.log_losses("train", means, len(rows))
        return means

    def training_loss(self, rows: Tensor) -> LossOutput:
        """Returns the loss of a batch; under manual optimisation it takes the step, too."""
        return self.loss(rows)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of held-out rows, given as in `training_step`."""
        self._evaluate("validation", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of test rows, given as in `training_step`."""
        self._evaluate("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Returns the reconstruction of rows in data units, shape (B, *row_shape)."""
        return self.reconstruct(rows_of(batch))

    def log_losses(self, stage: Stage, means: Mapping[str, Tensor], rows: int) -> None:
        """Logs losses as `train/loss`, `validation/kl`, ..., averaged over all rows of the epoch.

        Args:
            stage: What the losses are of.
            means: The losses by name, each of shape (), averaged over the rows.
            rows: How many rows they are averaged over.
        """
        self.log_dict(
            {f"{stage}/{name}": value for name, value in means.items()},
            # Lightning averages this number over workers; as an integer it would lose the rest.
            batch_size=float(rows),  # type: ignore[arg-type]
            on_step=False,
            on_epoch=True,
            sync_dist=True,
        )

    def _evaluate(self, stage: Stage, batch: Any) -> None:
        rows = rows_of(batch)
        if torch.is_inference_mode_enabled():
            # Some losses take gradients, which tensors made in this mode have none of.
            with torch.inference_mode(False), torch.no_grad():
                self._evaluate(stage, rows.clone())
            return
        if len(rows):
            self.log_losses(stage, self.loss(rows).means(), len(rows))
            return
        # A worker without rows still takes part in the sums over all workers.
        means = self.loss(rows.new_zeros(2, *rows.shape[1:])).means()
        self.log_losses(stage, {name: torch.zeros_like(value) for name, value in means.items()}, 0)

    def configure_optimizers(self) -> Any:
        """Returns AdamW, one kernel for all parameters, and its learning rate, step by step."""
        return self._optimizer_of(self.parameters())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by what the Trainer says, and else by `gradient_clip_norm`."""
        norm = self.hparams["gradient_clip_norm"]
        if gradient_clip_val is not None or norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        # Under FSDP only the wrapped module knows all of a gradient.
        clip = getattr(self.trainer.model, "clip_grad_norm_", None)
        if clip is not None:
            clip(norm)
        else:
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, norm)

    def _optimizer_of(self, parameters: Iterable[nn.Parameter]) -> dict[str, Any]:
        """Returns Lightning's description of an optimizer of some parameters and its schedule."""
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self._parameter_groups(list(parameters)),
            lr=hparams["learning_rate"],
            weight_decay=hparams["weight_decay"],
            fused=True,
        )
        if hparams["schedule"] == "constant" and not hparams["warm_up_epochs"]:
            return {"optimizer": optimizer}  # nothing changes at a step
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

    def _parameter_groups(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Returns the parameters; those of the reconstruction loss in a group of their own."""
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
        """Returns the optimizer steps and the batches of an epoch."""
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
        """Forgets the length of an earlier fit's epochs."""
        self._found_length = None

    def _trainer_if_any(self) -> Trainer | None:
        with suppress(RuntimeError):
            return self.trainer
        return None

    def warm_up(self, epochs: float) -> float | Tensor:
        """Returns the share of the first `epochs` epochs that training has been through.

        It is the share of half of all epochs if those are fewer.

        Returns:
            In (0, 1], rising linearly with the optimizer's steps; 1 outside training, where a
            loss must be what is wanted at the end. Of shape () where steps are recorded in a CUDA
            graph, for a graph holds tensors and no numbers.
        """
        trainer = self._trainer_if_any()
        if not self.training or epochs <= 0 or trainer is None:
            return 1.0
        if trainer.max_epochs and trainer.max_epochs > 0:
            # A short job must not end before what it is trained for has begun.
            epochs = min(epochs, trainer.max_epochs / 2)
        steps = self.global_step if self.graph_steps is None else self.graph_steps
        share = (steps + 1) / (epochs * self.steps_per_epoch)
        return share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training rows; 1 without a trainer."""
        return self._length_of_epoch()[0]

    @property
    def batches_per_epoch(self) -> int:
        """Calls of `loss` in one pass over the training rows; 1 without a trainer."""
        return self._length_of_epoch()[1]

    @property
    def training_rows(self) -> int:
        """Rows that one pass trains on; 1 without a trainer, or if its loader has no `dataset`."""
        trainer = self._trainer_if_any()
        dataset = getattr(trainer and trainer.train_dataloader, "dataset", None)
        return 1 if dataset is None else len(dataset)


def rows_of(batch: Any) -> Tensor:
    """Returns the rows of a batch, which may be a sequence that begins with them."""
    rows: Tensor = batch[0] if isinstance(batch, list | tuple) else batch
    return rows

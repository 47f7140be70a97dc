"""The clock of an autoencoder in training, which follows Lightning's Trainer."""

from __future__ import annotations

from contextlib import suppress
from math import ceil, inf
from typing import TYPE_CHECKING

from torch import Tensor

from isthmus.core.clock import Clock

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer


class TrainerClock(Clock):
    """Tells a loss how far the Trainer of its module is; without one, as outside training.

    Attributes:
        epoch_length: The numbers of optimizer steps and of batches in an epoch. They are set where
            the loader's length does not give them, because the fast path for one process passes
            groups of steps to Lightning.
        graph_steps: The number of steps taken, shape (), while steps are recorded in a CUDA graph.
        is_warm: Whether training starts with trained weights, so that no term of the loss is warmed
            up.
    """

    def __init__(self, module: LightningModule) -> None:
        """Creates the clock.

        Args:
            module: The module that the Trainer trains.
        """
        self.epoch_length: tuple[int, int] | None = None
        self.graph_steps: Tensor | None = None
        self.is_warm = False
        self._module = module
        self._found_length: tuple[int, int] | None = None

    def restart(self) -> None:
        """Discards the epoch length of an earlier fit."""
        self._found_length = None

    @property
    def epoch(self) -> int:
        """The number of epochs that are completed."""
        return self._module.current_epoch

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
        trainer = self._trainer()
        dataset = getattr(trainer and trainer.train_dataloader, "dataset", None)
        return 1 if dataset is None else len(dataset)

    def warm_up(self, epochs: float) -> float | Tensor:
        """Returns the fraction of the first epochs that is completed; see `Autoencoder.warm_up`."""
        trainer = self._trainer()
        if trainer is None or self.is_warm:
            return 1.0
        if trainer.max_epochs and trainer.max_epochs > 0:
            # In a short job the final objective must still be trained for half of the epochs.
            epochs = min(epochs, trainer.max_epochs / 2)
        steps = self._module.global_step if self.graph_steps is None else self.graph_steps
        share = (steps + 1) / (epochs * self.steps_per_epoch)
        return share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

    def _length_of_epoch(self) -> tuple[int, int]:
        """Returns the numbers of optimizer steps and of batches in an epoch."""
        if self.epoch_length is not None:
            return self.epoch_length
        trainer = self._trainer()
        if trainer is None:
            return 1, 1
        if self._found_length is None:
            total = trainer.estimated_stepping_batches  # asks the loader for its length
            steps = ceil(total / max(1, trainer.max_epochs or 1)) if 0 < total < inf else 1
            self._found_length = max(1, steps), max(1, steps) * trainer.accumulate_grad_batches
        return self._found_length

    def _trainer(self) -> Trainer | None:
        with suppress(RuntimeError):
            return self._module.trainer
        return None

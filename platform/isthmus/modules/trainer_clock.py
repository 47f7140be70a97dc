"""The clock of an autoencoder in training, which follows Lightning's Trainer."""

from __future__ import annotations

from contextlib import suppress
from math import ceil, inf
from typing import TYPE_CHECKING

from torch import Tensor

from isthmus.core.clock import Clock
from isthmus.errors import TrainingError

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from isthmus.modules.autoencoder_module import AutoencoderModule


class TrainerClock(Clock):
    """Tells a loss how far the Trainer of its module is; without one, as outside training.

    Attributes:
        epoch_length: The numbers of optimizer steps and of batches in an epoch. They are set where
            the loader's length does not give them, because the fast path for one process passes
            groups of steps to Lightning.
        graph_steps: The number of steps taken, shape (), while steps are recorded in a CUDA graph.
        is_warm: Whether training starts with trained weights, so that no term of the loss is warmed
            up.
        optimizers: The number of optimizers that take a step for each batch.
    """

    def __init__(self, module: AutoencoderModule) -> None:
        """Creates the clock.

        Args:
            module: The module that the Trainer trains.
        """
        self.epoch_length: tuple[int, int] | None = None
        self.graph_steps: Tensor | None = None
        self.is_warm = False
        self.optimizers = 1
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
    def total_steps(self) -> float:
        """The number of steps of each optimizer at which the Trainer ends; infinity if it does not.

        A Trainer's `max_steps` counts the steps of all optimizers.
        """
        trainer = self._trainer()
        if trainer is None:
            return inf
        epochs, limit = trainer.max_epochs or -1, trainer.max_steps
        return min(
            epochs * self.steps_per_epoch if epochs > 0 else inf,
            ceil(limit / self.optimizers) if limit > 0 else inf,
        )

    @property
    def training_rows(self) -> int:
        """The number of training rows; 1 outside training.

        Raises:
            TrainingError: If the loader's dataset has no length.
        """
        trainer = self._trainer()
        if trainer is None or trainer.train_dataloader is None:
            return 1
        try:
            return len(trainer.train_dataloader.dataset)
        except (AttributeError, TypeError) as error:
            name = self._module.plan.variant.name
            raise TrainingError(
                f"the loss of {name} needs the number of training rows, and the loader's dataset "
                "has no length; use a dataset with `__len__`, or another variant"
            ) from error

    def warm_up(self, epochs: float) -> float | Tensor:
        """Returns the fraction of the first epochs that is completed; see `Autoencoder.warm_up`."""
        trainer = self._trainer()
        if trainer is None or self.is_warm:
            return 1.0
        # In a short job the final objective must still be trained for half of the epochs.
        epochs = min(epochs, self.total_steps / self.steps_per_epoch / 2)
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
            self._found_length = self._length_by_loader(trainer)
        return self._found_length

    def _length_by_loader(self, trainer: Trainer) -> tuple[int, int]:
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()  # Lightning would set it up after the optimizers
        batches, parts = trainer.num_training_batches, trainer.accumulate_grad_batches
        if batches == inf:  # a loader without a length: the epochs share the steps, if they end
            limit = trainer.max_steps if trainer.max_steps > 0 else 1
            steps = max(1, ceil(limit / max(1, trainer.max_epochs or 1)))
            return steps, steps * parts
        return max(1, ceil(batches / parts)), max(1, int(batches))

    def _trainer(self) -> Trainer | None:
        with suppress(RuntimeError):
            return self._module.trainer
        return None

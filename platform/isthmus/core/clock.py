"""The clock by which a loss learns how far the training is that it is part of."""

from __future__ import annotations

from torch import Tensor


class Clock:
    """Tells a loss how far training is; this clock is that of an autoencoder outside training.

    A module that trains an autoencoder gives it a clock that follows its Trainer.
    """

    @property
    def epoch(self) -> int:
        """The number of epochs that are completed."""
        return 0

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps in one pass over the training rows."""
        return 1

    @property
    def batches_per_epoch(self) -> int:
        """The number of `loss` calls in one pass over the training rows."""
        return 1

    @property
    def training_rows(self) -> int:
        """The number of training rows."""
        return 1

    def warm_up(self, epochs: float) -> float | Tensor:
        """Returns the fraction of the first `epochs` epochs that training has completed.

        It is 1 outside training, where a loss must be the final objective.
        """
        return 1.0

"""The mean squared error of validation rows as they are: what trials of a search are compared by.

A validation loss cannot be: its unit changes with the loss, the noise and the weights of its
terms, which are what a search tries out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core import Autoencoder


class ErrorMeter:
    """Reconstructs each validation batch without noise, with the weights that are validated."""

    NAME = "mse"

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def measure(self, module: Autoencoder, batch: Tensor) -> None:
        """Adds the errors of a batch of scaled rows, shape (B, *row_shape)."""
        first_view = batch[:, 0] if module.VIEWS == 2 else batch
        # No draw of its own may change what validation draws next.
        with torch.random.fork_rng(devices=[]):
            errors = module.reconstruction_error(module.scaling.inverse(first_view))
        total = errors.detach().sum()
        self._sum = total if self._sum is None else self._sum + total

    def pop(self) -> dict[str, Tensor]:
        """The errors summed over this worker's rows, scaled units; starts counting anew."""
        total, self._sum = self._sum, None
        return {} if total is None else {self.NAME: total}

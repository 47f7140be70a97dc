"""The mean squared error of validation rows as they are: what trials of a search are compared by.

A validation loss cannot be: its unit changes with the loss, the noise and the weights of its
terms, which are what a search tries out.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from isthmus.core import Autoencoder


class ErrorMeter(Callback):
    """Reconstructs each validation batch without noise, with the weights that are validated."""

    NAME = "mse"

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds the batch's errors."""
        assert isinstance(pl_module, Autoencoder)  # noqa: S101 (for the type checker)
        first_look = batch[:, 0] if pl_module.LOOKS == 2 else batch
        # No draw of its own may change what validation draws next.
        with torch.random.fork_rng(devices=[]):
            errors = pl_module.reconstruction_error(pl_module.scaling.inverse(first_look))
        total = errors.detach().sum()
        self._sum = total if self._sum is None else self._sum + total

    def pop(self) -> dict[str, Tensor]:
        """The errors summed over this worker's rows, scaled units; starts counting anew."""
        total, self._sum = self._sum, None
        return {} if total is None else {self.NAME: total}

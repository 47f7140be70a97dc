"""The mean squared error of held-out rows as they are: what trials of a search are compared by.

A validation loss cannot be compared: its unit changes with the loss, the noise and the weights of
its terms, which are what a search tries out.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from isthmus.core import Autoencoder
from isthmus.core.lightning import rows_of


class ErrorMeter(Callback):
    """Logs `validation/mse`, of rows without noise and the weights that are validated."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Reconstructs a batch of scaled rows, shape (B, *row_shape)."""
        assert isinstance(pl_module, Autoencoder)  # noqa: S101 (for the type checker)
        rows = rows_of(batch)
        rows = rows[:, 0] if pl_module.VIEWS == 2 else rows
        error = rows.new_zeros(())
        if len(rows):
            # No draw of its own may change what validation draws next.
            with torch.random.fork_rng(devices=[]):
                error = pl_module.reconstruction_error(pl_module.scaling.inverse(rows)).mean()
        pl_module.log_losses("validation", {"mse": error}, len(rows))

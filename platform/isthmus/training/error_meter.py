"""The mean squared error on validation rows, by which the trials of a search are compared.

Validation losses cannot be compared: their unit depends on the loss function, the noise and the
weights of the terms, which a search varies.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from isthmus.modules import AutoencoderModule, rows_of


class ErrorMeter(Callback):
    """A callback that logs `validation/mse`, of rows without added noise and validated weights."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Logs the error of a batch of scaled rows, shape (B, *row_shape) or (B, 2, *row_shape).

        The target is the row itself, or its clean version if there is one.
        """
        assert isinstance(pl_module, AutoencoderModule)  # noqa: S101 (for the type checker)
        rows, autoencoder = rows_of(batch), pl_module.autoencoder
        has_both = rows.ndim == len(autoencoder.plan.row_shape) + 2
        first = rows[:, 0] if has_both else rows
        error = rows.new_zeros(())
        if len(rows):
            x = autoencoder.scaling.inverse(first)
            # Random draws in here must not change the later draws of the validation.
            with torch.random.fork_rng(devices=[]):
                if has_both and autoencoder.VIEWS == 1:
                    made = autoencoder.scaling(autoencoder.reconstruct(x))
                    error = (made - rows[:, 1]).square().mean()
                else:
                    error = autoencoder.reconstruction_error(x).mean()
        pl_module.log_losses("validation", {"mse": error}, len(rows))

"""The held-out rows after each epoch.

Not in Lightning's own loop over them: after a short epoch that takes longer than the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from isthmus.core import Autoencoder
from isthmus.training.averaging import AveragedWeights
from isthmus.training.error_meter import ErrorMeter

if TYPE_CHECKING:
    from isthmus.data import StoredRows


@dataclass
class ValidationBatches:
    """One worker's share of the held-out rows, in order.

    Attributes:
        rows: Shape (N, *row_shape), scaled.
        device: That trains.
        batch_size: Rows of one step.
        rank: This worker, from 0.
        workers: How many share the rows.
    """

    rows: Tensor | StoredRows
    device: torch.device
    batch_size: int
    rank: int
    workers: int

    def __len__(self) -> int:
        return ceil(len(range(self.rank, len(self.rows), self.workers)) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        of_all = self.batch_size * self.workers
        for step in range(len(self)):
            rows = self.rows[step * of_all : (step + 1) * of_all]
            yield torch.as_tensor(rows, device=self.device)[self.rank :: self.workers]


@dataclass
class Validation:
    """Finds the losses of held-out rows.

    Attributes:
        batches: This worker's share of them.
        averaged: What is validated instead of the trained weights, if anything.
        meter: Measures what the variant's own loss does not, if that is wanted.
    """

    batches: ValidationBatches
    averaged: AveragedWeights | None = None
    meter: ErrorMeter | None = None

    def __call__(self, trainer: Trainer, module: Autoencoder) -> dict[str, Tensor]:
        """This worker's sums over its rows, by name, and `rows`; each of shape ()."""
        average = self.averaged.in_place_of(module) if self.averaged else nullcontext()
        # No inference mode: contractive takes gradients in its loss, on these rows too.
        with average, _evaluating(module), torch.no_grad():
            for number, batch in enumerate(self.batches):
                with trainer.precision_plugin.val_step_context():
                    module.validation_step(batch, number)
                if self.meter:
                    self.meter.measure(module, batch)
        return module.pop_sums("validation") | (self.meter.pop() if self.meter else {})


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """As `eval`; afterwards what trained before does so again, and nothing else."""
    trained = [each for each in module.modules() if each.training]
    module.eval()
    try:
        yield
    finally:
        for each in trained:
            each.training = True

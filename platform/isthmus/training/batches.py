"""Batches of rows that stay where they are: a resident tensor, indexed a batch at a time.

A DataLoader copies every row through Python objects; for small nets that costs more than the
step. Here one `index_select` on the device that trains gathers the rows of many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

# Gathered at once: enough that the call costs nothing, few enough to stay in a processor's cache.
_GATHERED_BYTES = 1 << 20
# Keeps the order of rows apart from the draws of noise, which are seeded with the same seed.
_ORDER_STREAM = 0x5EED


@dataclass
class TrainingBatches:
    """One worker's share of each global batch, in an order that seed and epoch determine.

    The order needs no state: a run resumed at epoch 7 sees what it would have seen.

    Attributes:
        rows: Shape (N, *row_shape), scaled, on the device.
        global_batch_size: Rows of one step, over all workers.
        rank: This worker, from 0.
        workers: How many share each batch.
        seed: Of the job.
        epoch: Counted from 0; set before each pass.
        parts: That a step's rows are taken in, one after another.
    """

    rows: Tensor
    global_batch_size: int
    rank: int
    workers: int
    seed: int
    epoch: int = 0
    parts: int = 1

    @property
    def rows_per_epoch(self) -> int:
        """Rows that all workers see in one pass: every row, but for a remainder of `workers`."""
        # Each worker must take equally many rows in every step, the last included, or the
        # others' gradients would be averaged with the wrong weights.
        return len(self.rows) - len(self.rows) % self.workers

    @property
    def rows_at_once(self) -> int:
        """This worker's rows of one forward pass, at most."""
        return self.global_batch_size // (self.workers * self.parts)

    def __len__(self) -> int:
        return ceil(self.rows_per_epoch / self.global_batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, _ORDER_STREAM, self.epoch))
        order = torch.randperm(len(self.rows), generator=generator)[: self.rows_per_epoch]
        order = order[self.rank :: self.workers].to(self.rows.device)
        rows_of_step = self.global_batch_size // self.workers
        step_bytes = rows_of_step * self.rows[0].numel() * self.rows.element_size()
        steps = max(1, _GATHERED_BYTES // max(1, step_bytes))
        for indices in torch.split(order, steps * rows_of_step):
            yield from torch.split(self.rows.index_select(0, indices), rows_of_step)


@dataclass
class ValidationBatches:
    """One worker's share of the held-out rows, in order.

    Attributes:
        rows: Shape (N, *row_shape), scaled, on the device.
        batch_size: Rows of one step.
        rank: This worker, from 0.
        workers: How many share the rows.
    """

    rows: Tensor
    batch_size: int
    rank: int
    workers: int

    def __len__(self) -> int:
        return ceil(len(self._share) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.split(self._share, self.batch_size)

    @property
    def _share(self) -> Tensor:
        return self.rows[self.rank :: self.workers]


def mix_seed(*parts: int) -> int:
    """One seed from several numbers, such that neighbours give unrelated streams.

    Source: Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators", the SplitMix64
    finaliser.
    """
    mask = (1 << 64) - 1
    state = 0
    for part in parts:
        state = (state + 0x9E3779B97F4A7C15 + part) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 1  # torch takes signed 64-bit seeds

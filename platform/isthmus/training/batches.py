"""Batches of rows that stay where they are: a resident tensor, or a file for very many rows.

A DataLoader copies every row through Python objects; for small nets that costs more than the
step. Here one `index_select` on the device that trains gathers the rows of many steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from isthmus.data import StoredRows

# Gathered at once: enough that the call costs nothing, few enough to stay in a processor's cache.
_GATHERED_BYTES = 1 << 20
# Of stored rows: how many numbers are mixed in memory, and how many bytes of one place in the file
# are among them. Short enough pieces that each mixture is of many places.
_MIXED_NUMBERS = 1 << 21
_PIECE_BYTES = 1 << 15
# Keeps the order of rows apart from the draws of noise, which are seeded with the same seed.
_ORDER_STREAM = 0x5EED


@dataclass(kw_only=True)
class Batches(ABC):
    """One worker's share of each global batch, in an order that seed and epoch determine.

    The order needs no state: a run resumed at epoch 7 sees what it would have seen.

    Attributes:
        device: That trains.
        global_batch_size: Rows of one step, over all workers.
        rank: This worker, from 0.
        workers: How many share each batch.
        seed: Of the job.
        epoch: Counted from 0; set before each pass.
        parts: That a step's rows are taken in, one after another.
    """

    device: torch.device
    global_batch_size: int
    rank: int
    workers: int
    seed: int
    epoch: int = 0
    parts: int = 1

    @property
    @abstractmethod
    def count(self) -> int:
        """Rows to train on."""

    @abstractmethod
    def _gathered(self, generator: torch.Generator, rows_of_step: int) -> Iterator[Tensor]:
        """This worker's rows in the epoch's order, in parts of whole steps but for the last."""

    @property
    def rows_per_epoch(self) -> int:
        """Rows that all workers see in one pass: every row, but for a remainder of `workers`."""
        # Each worker must take equally many rows in every step, the last included, or the
        # others' gradients would be averaged with the wrong weights.
        return self.count - self.count % self.workers

    @property
    def rows_at_once(self) -> int:
        """This worker's rows of one forward pass, at most."""
        return self.global_batch_size // (self.workers * self.parts)

    def __len__(self) -> int:
        return ceil(self.rows_per_epoch / self.global_batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, _ORDER_STREAM, self.epoch))
        rows_of_step = self.global_batch_size // self.workers
        for gathered in self._gathered(generator, rows_of_step):
            yield from torch.split(gathered, rows_of_step)


@dataclass(kw_only=True)
class ResidentBatches(Batches):
    """Of rows in memory, in any order.

    Attributes:
        rows: Shape (N, *row_shape), scaled, on the device.
    """

    rows: Tensor

    @property
    def count(self) -> int:
        """Rows to train on."""
        return len(self.rows)

    def _gathered(self, generator: torch.Generator, rows_of_step: int) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=generator)[: self.rows_per_epoch]
        order = order[self.rank :: self.workers].to(self.device)
        step_bytes = rows_of_step * self.rows[0].numel() * self.rows.element_size()
        steps = max(1, _GATHERED_BYTES // max(1, step_bytes))
        for indices in torch.split(order, steps * rows_of_step):
            yield self.rows.index_select(0, indices)


@dataclass(kw_only=True)
class StoredBatches(Batches):
    """Of rows in a file: pieces of it are read in any order, and the rows of many pieces mixed.

    Every worker reads the same pieces and takes its share of each mixture.

    Attributes:
        rows: Shape (N, *row_shape), scaled as they are read.
    """

    rows: StoredRows

    @property
    def count(self) -> int:
        """Rows to train on."""
        return len(self.rows)

    def _gathered(self, generator: torch.Generator, rows_of_step: int) -> Iterator[Tensor]:
        for mixed in self._pieces(generator):
            filled = len(mixed) - len(mixed) % self.workers
            order = torch.randperm(len(mixed), generator=generator)[:filled]
            share = torch.from_numpy(mixed).index_select(0, order[self.rank :: self.workers])
            self.rows.scale(share.numpy())
            yield share.to(self.device)

    def _pieces(self, generator: torch.Generator) -> Iterator[NDArray[np.float32]]:
        """Rows of many places, as many as whole steps take; the array is the same each time."""
        count, row_shape = len(self.rows), self.rows.shape[1:]
        numbers = prod(row_shape)
        piece = max(1, _PIECE_BYTES // (4 * numbers))
        steps = max(1, _MIXED_NUMBERS // (numbers * self.global_batch_size))
        mixed = np.empty((steps * self.global_batch_size, *row_shape), dtype=np.float32)
        filled = 0
        for place in torch.randperm(ceil(count / piece), generator=generator).tolist():
            first, end = place * piece, min(count, (place + 1) * piece)
            while first < end:
                taken = min(end - first, len(mixed) - filled)
                self.rows.read_into(mixed[filled : filled + taken], first)
                first, filled = first + taken, filled + taken
                if filled == len(mixed):
                    yield mixed
                    filled = 0
        if filled:
            yield mixed[:filled]


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

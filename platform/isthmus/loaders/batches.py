"""Batches of rows that stay where they are: a resident tensor, or a file for very many rows.

Each class is a loader to Lightning: it has a length, an epoch that Lightning sets through
`sampler`, and a `state_dict` that lets training resume in the middle of an epoch. A DataLoader
copies every row through Python objects, which costs more than the step of a small net.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil, prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from isthmus.data import StoredRows

# Rows are gathered in pieces: large enough that the call costs nothing, small enough to stay in a
# processor's cache.
_GATHERED_BYTES = 1 << 20
# Stored rows are mixed in memory: so many numbers at a time, from pieces of so many bytes. Pieces
# are short, so that a mixture holds rows of many places in the file.
_MIXED_NUMBERS = 1 << 21
_PIECE_BYTES = 1 << 15
# Keeps the order of rows apart from the draws of noise, which are seeded with the same seed.
_ORDER_STREAM = 0x5EED


@dataclass(kw_only=True)
class Batches(ABC):
    """One worker's share of each global batch, in an order that seed and epoch determine.

    Attributes:
        device: What trains.
        global_batch_size: Rows of one optimizer step, over all workers.
        rank: This worker's number, from 0.
        workers: How many workers share each batch.
        seed: The job's seed.
        epoch: Counted from 0; Lightning sets it before each pass.
        parts: How many batches a step's rows are taken in, one after another.
        rows_done: Rows of the epoch that all workers have been given.
        resumed_rows: Rows that the next pass leaves out, for an earlier process has taken them.
    """

    device: torch.device
    global_batch_size: int
    rank: int
    workers: int
    seed: int
    epoch: int = 0
    parts: int = 1
    rows_done: int = 0
    resumed_rows: int = 0

    is_resumable: ClassVar[bool] = True
    """Whether a pass can begin in the middle of an epoch."""

    @property
    @abstractmethod
    def dataset(self) -> Any:
        """The rows to train on, as a DataLoader calls them."""

    @abstractmethod
    def _shares(self, seed: int, first_step: int) -> Iterator[Tensor]:
        """Yields this worker's rows of each step of the epoch, from a step on."""

    @property
    def rows_per_epoch(self) -> int:
        """Rows that all workers see in one pass: all but a remainder of `workers`.

        Every worker takes equally many rows in each step, the last included: else the mean of
        their gradients would not be the gradient of the mean.
        """
        return len(self.dataset) - len(self.dataset) % self.workers

    @property
    def rows_per_step(self) -> int:
        """This worker's rows of one step, at most."""
        return self.global_batch_size // self.workers

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass."""
        return ceil(self.rows_per_epoch / (self.rows_per_step * self.workers))

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one pass: `parts` in a step, fewer in a last step with fewer rows."""
        whole, rest = divmod(self.rows_per_epoch // self.workers, self.rows_per_step)
        return whole * min(self.parts, self.rows_per_step) + min(self.parts, rest)

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[Tensor]:
        for step in self.steps():
            yield from step

    def steps(self) -> Iterator[list[Tensor]]:
        """Yields the batches of each optimizer step, each of shape (B, *row_shape)."""
        self.rows_done, self.resumed_rows = self.resumed_rows, 0
        first_step = self.rows_done // (self.rows_per_step * self.workers)
        for share in self._shares(mix_seed(self.seed, _ORDER_STREAM, self.epoch), first_step):
            self.rows_done += len(share) * self.workers
            parts = min(self.parts, len(share))
            yield [share] if parts == 1 else list(share.tensor_split(parts))

    # -- what Lightning asks of a loader ----------------------------------------------------------

    @property
    def sampler(self) -> Batches:
        """What Lightning tells the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0, that the next pass belongs to."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Returns how far the epoch is."""
        return {"rows_done": self.rows_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Lets the next pass begin where the epoch was."""
        self.resumed_rows = state["rows_done"]


@dataclass(kw_only=True)
class ResidentBatches(Batches):
    """Batches of rows in memory, in any order.

    Attributes:
        rows: Shape (N, *row_shape), scaled; on the device, or on the CPU if they do not fit there.
    """

    rows: Tensor

    @property
    def dataset(self) -> Tensor:
        """The rows to train on."""
        return self.rows

    def _shares(self, seed: int, first_step: int) -> Iterator[Tensor]:
        return _split(self._gathered(seed, first_step), self.rows_per_step)

    def _gathered(self, seed: int, first_step: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.rows), generator=generator)[: self.rows_per_epoch]
        order = order[first_step * self.rows_per_step * self.workers :]
        order = order[self.rank :: self.workers].to(self.rows.device)
        step_bytes = self.rows_per_step * self.rows[0].numel() * self.rows.element_size()
        steps = max(1, _GATHERED_BYTES // max(1, step_bytes))
        pieces = torch.split(order, steps * self.rows_per_step)
        gathered = (self.rows.index_select(0, indices) for indices in pieces)
        return copied_ahead(gathered, self.device)


@dataclass(kw_only=True)
class StoredBatches(Batches):
    """Batches of rows in a file: pieces of it are read in any order, and their rows mixed.

    Every worker reads the same pieces and takes its share of each mixture.

    Attributes:
        rows: Shape (N, *row_shape), scaled as they are read.
    """

    rows: StoredRows

    @property
    def dataset(self) -> StoredRows:
        """The rows to train on."""
        return self.rows

    def _shares(self, seed: int, first_step: int) -> Iterator[Tensor]:
        mixture, steps = divmod(first_step, self._steps_of_a_mixture)
        mixed = copied_ahead(self._mixtures(seed, mixture), self.device)
        return islice(_split(mixed, self.rows_per_step), steps, None)

    @property
    def _steps_of_a_mixture(self) -> int:
        numbers = prod(self.rows.shape[1:]) * self.rows_per_step * self.workers
        return max(1, _MIXED_NUMBERS // numbers)

    def _mixtures(self, seed: int, first: int) -> Iterator[Tensor]:
        """Yields this worker's share of the rows of many places, from a mixture on."""
        size = self._steps_of_a_mixture * self.rows_per_step * self.workers
        for number, mixed in enumerate(self._pieces(seed, size, first * size), start=first):
            generator = torch.Generator().manual_seed(mix_seed(seed, number))
            filled = len(mixed) - len(mixed) % self.workers
            order = torch.randperm(len(mixed), generator=generator)[:filled]
            share = torch.from_numpy(mixed).index_select(0, order[self.rank :: self.workers])
            self.rows.scale(share.numpy())
            yield share

    def _pieces(self, seed: int, size: int, skipped: int) -> Iterator[NDArray[np.float32]]:
        """Yields `size` rows of many places, the last time fewer; the array is always the same.

        The first `skipped` rows are not read.
        """
        count, row_shape = len(self.rows), self.rows.shape[1:]
        piece = max(1, _PIECE_BYTES // (4 * prod(row_shape)))
        mixed = np.empty((size, *row_shape), dtype=np.float32)
        filled = 0
        generator = torch.Generator().manual_seed(seed)
        for place in torch.randperm(ceil(count / piece), generator=generator).tolist():
            first, end = place * piece, min(count, (place + 1) * piece)
            passed = min(skipped, end - first)
            first, skipped = first + passed, skipped - passed
            while first < end:
                taken = min(end - first, size - filled)
                self.rows.read_into(mixed[filled : filled + taken], first)
                first, filled = first + taken, filled + taken
                if filled == size:
                    yield mixed
                    filled = 0
        if filled:
            yield mixed[:filled]


@dataclass
class ValidationBatches:
    """One worker's share of the held-out rows, in order.

    All workers have equally many batches, so that they can sum up after each; a worker that has
    no rows left gets a batch of none.

    Attributes:
        rows: Shape (N, *row_shape), scaled.
        device: What trains.
        batch_size: Rows of one batch of one worker.
        rank: This worker's number, from 0.
        workers: How many workers share the rows.
    """

    rows: Tensor | StoredRows
    device: torch.device
    batch_size: int
    rank: int
    workers: int

    def __len__(self) -> int:
        return ceil(len(self.rows) / (self.batch_size * self.workers))

    def __iter__(self) -> Iterator[Tensor]:
        at_once = self.batch_size * self.workers
        for batch in range(len(self)):
            rows = torch.as_tensor(self.rows[batch * at_once : (batch + 1) * at_once])
            yield rows[self.rank :: self.workers].to(self.device)


def copied_ahead(batches: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yields each batch on the device; the next one is copied while one is worked on."""
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: Tensor | None = None
    for batch in batches:
        if batch.is_cuda:
            yield batch
            continue
        with torch.cuda.stream(stream):
            copied = batch.pin_memory().to(device, non_blocking=True)
        if ahead is not None:
            yield ahead
        torch.cuda.current_stream(device).wait_stream(stream)
        copied.record_stream(torch.cuda.current_stream(device))
        ahead = copied
    if ahead is not None:
        yield ahead


def _split(gathered: Iterator[Tensor], rows: int) -> Iterator[Tensor]:
    for each in gathered:
        yield from torch.split(each, rows)


def mix_seed(*parts: int) -> int:
    """Returns one seed of several numbers, such that neighbours give unrelated streams.

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

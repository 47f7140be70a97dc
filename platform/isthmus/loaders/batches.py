"""Data loaders over rows in one tensor, or in a file if there are very many rows.

To Lightning each class is a data loader: it has a length, an epoch that Lightning sets through
`sampler`, and a `state_dict` that lets training resume in the middle of an epoch. A torch
DataLoader copies every row through Python objects, which costs more than the step of a small net.
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

# Rows are gathered in chunks: large enough that the call's overhead does not count, small enough to
# stay in the CPU's cache.
_GATHERED_BYTES = 1 << 20
# Stored rows are shuffled in a buffer of so many values, filled with chunks of so many bytes.
# Chunks are short, so that a buffer holds rows from many places in the file.
_MIXED_NUMBERS = 1 << 21
_PIECE_BYTES = 1 << 15
# Makes the order of the rows independent of the noise, which is drawn with the same seed.
_ORDER_STREAM = 0x5EED


@dataclass(frozen=True)
class BatchWeights:
    """The factors of the batches' mean losses in the losses of their steps.

    Lightning divides the loss of every batch by `parts`, which gives the mean over the rows of a
    step only if it has so many batches of equally many rows. A last, smaller step has not.

    Attributes:
        whole_batches: The number of batches of an epoch that are parts of full steps.
        rows_of_whole: The number of this worker's rows in a full step.
        rows_of_last: The number of its rows in a last, smaller step.
        parts: The number of batches by which Lightning divides a loss.
    """

    whole_batches: int
    rows_of_whole: int
    rows_of_last: int
    parts: int

    def __call__(self, batch: int, rows: int) -> float:
        """Returns the factor of a batch.

        Args:
            batch: The batch's number in the epoch, counted from 0.
            rows: The number of its rows.
        """
        is_whole = batch < self.whole_batches
        return rows * self.parts / (self.rows_of_whole if is_whole else self.rows_of_last)


@dataclass(kw_only=True)
class Batches(ABC):
    """A data loader of one worker's share of each global batch, in an order set by seed and epoch.

    Attributes:
        device: The device that trains.
        global_batch_size: Rows of one optimizer step, over all workers.
        rank: The rank of this worker.
        workers: Number of workers that share each batch.
        seed: The job's seed.
        epoch: The epoch, counted from 0; Lightning sets it before each pass.
        parts: Number of batches that a step accumulates.
        rows_done: Rows of the epoch handed out so far, over all workers.
        resumed_rows: Rows that the next pass skips, because an earlier process trained on them.
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
        """The training rows, under the name that a DataLoader gives them."""

    @abstractmethod
    def _shares(self, seed: int, first_step: int) -> Iterator[Tensor]:
        """Yields this worker's rows of each step of the epoch, from `first_step` on."""

    @property
    def rows_per_epoch(self) -> int:
        """The number of rows that all workers see in one pass: all but a remainder of `workers`.

        Every worker takes equally many rows in each step, also in the last: otherwise the mean of
        their gradients would not be the gradient of the mean.
        """
        return len(self.dataset) - len(self.dataset) % self.workers

    @property
    def rows_per_step(self) -> int:
        """The largest number of this worker's rows in one step."""
        return self.global_batch_size // self.workers

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps in one pass."""
        return ceil(self.rows_per_epoch / (self.rows_per_step * self.workers))

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in one pass: `parts` per step, fewer in a last, smaller step."""
        whole, rest = divmod(self.rows_per_epoch // self.workers, self.rows_per_step)
        return whole * self.batches_per_step + min(self.parts, rest)

    @property
    def resumed_step(self) -> int:
        """The step that the next pass begins with, counted from 0.

        With another number of workers than before, steps may be of another size; the pass then
        begins with the step that holds the first row left, and with the last one at most.
        """
        step = self.resumed_rows // (self.rows_per_step * self.workers)
        return min(step, self.steps_per_epoch - 1)

    @property
    def batches_per_step(self) -> int:
        """The number of batches of a full step."""
        return min(self.parts, self.rows_per_step)

    @property
    def weights(self) -> BatchWeights:
        """The factors of the batches' mean losses in the losses of their steps."""
        whole, rest = divmod(self.rows_per_epoch // self.workers, self.rows_per_step)
        return BatchWeights(
            whole_batches=whole * self.batches_per_step,
            rows_of_whole=self.rows_per_step,
            rows_of_last=rest,
            parts=self.parts,
        )

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[Tensor]:
        for step in self.steps():
            yield from step

    def steps(self) -> Iterator[list[Tensor]]:
        """Yields the batches of each optimizer step, each of shape (B, *row_shape)."""
        first_step = self.resumed_step
        self.rows_done, self.resumed_rows = self.resumed_rows, 0
        for share in self._shares(mix_seed(self.seed, _ORDER_STREAM, self.epoch), first_step):
            self.rows_done += len(share) * self.workers
            parts = min(self.parts, len(share))
            yield [share] if parts == 1 else list(share.tensor_split(parts))

    # -- what Lightning asks of a loader ----------------------------------------------------------

    @property
    def sampler(self) -> Batches:
        """The object on which Lightning sets the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass, counted from 0."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Returns the position within the epoch."""
        return {"rows_done": self.rows_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next pass begin at a saved position within the epoch."""
        self.resumed_rows = state["rows_done"]


@dataclass(kw_only=True)
class ResidentBatches(Batches):
    """A data loader over rows in memory, in random order.

    Attributes:
        rows: The scaled rows, shape (N, *row_shape); on the device, or on the CPU if they do not
            fit there.
    """

    rows: Tensor

    @property
    def dataset(self) -> Tensor:
        """The training rows."""
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
    """A data loader over rows in a file: reads chunks in random order and shuffles their rows.

    Every worker reads the same chunks and takes its share of each shuffled buffer.

    Attributes:
        rows: The rows, shape (N, *row_shape), which are scaled as they are read.
    """

    rows: StoredRows

    @property
    def dataset(self) -> StoredRows:
        """The training rows."""
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
        """Yields this worker's share of each shuffled buffer, from number `first` on."""
        size = self._steps_of_a_mixture * self.rows_per_step * self.workers
        for number, mixed in enumerate(self._pieces(seed, size, first * size), start=first):
            generator = torch.Generator().manual_seed(mix_seed(seed, number))
            filled = len(mixed) - len(mixed) % self.workers
            order = torch.randperm(len(mixed), generator=generator)[:filled]
            share = torch.from_numpy(mixed).index_select(0, order[self.rank :: self.workers])
            self.rows.scale(share.numpy())
            yield share

    def _pieces(self, seed: int, size: int, skipped: int) -> Iterator[NDArray[np.float32]]:
        """Yields buffers of `size` rows from many places in the file; the last may have fewer.

        All buffers are the same array. The first `skipped` rows are not read.
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
    """A data loader of one worker's share of the validation rows, in order.

    All workers have equally many batches, so that they can sum their losses after each; a worker
    without rows left gets an empty batch.

    Attributes:
        rows: The scaled rows, shape (N, *row_shape).
        device: The device that trains.
        batch_size: Rows of one batch of one worker.
        rank: The rank of this worker.
        workers: Number of workers that share the rows.
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
    """Yields each batch on the device, and copies the next one while it is used."""
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
    """Returns one seed made of several numbers, such that similar numbers give unrelated streams.

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

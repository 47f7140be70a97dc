"""Applies what a pair computes to many rows, a batch at a time, on the CPU or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.allocation import raise_malloc_thresholds
from isthmus.errors import UsageError
from isthmus.types import Shape

Floats = NDArray[np.float32]
OnRows = Callable[[int, int], None]
# The batch sizes of the CPU were measured. The feature maps of a conv net are many times larger
# than its input, and a batch of 2**16 numbers keeps them near a core's cache: a conv net takes up
# to twice as long with ten times as many pictures at once. The layers of a dense net are not much
# wider than its rows, and its matrix products are faster with more rows; beyond 4096 rows they
# gain nothing.
_NUMBERS_IN_A_BATCH = 2**16
_NUMBERS_OF_A_TABLE_IN_A_BATCH = 2**18
_MOST_ROWS_IN_A_BATCH = 4096
# A GPU has no such cache to stay in, and is idle between small batches. The feature maps of a conv
# net of 64 channels take 256 MiB at this size.
_NUMBERS_ON_A_GPU = 2**20
_MOST_ROWS_ON_A_GPU = 2**14


@dataclass(frozen=True, eq=False)
class RowsTaken:
    """Rows as a pair takes them, and what brings results back to the form in which they came.

    Attributes:
        rows: Shape (N, *row_shape), in the pair's units, less its centre.
        shape: The shape of the input.
        factor: The factor that gave the input's pixels the pair's white.
    """

    rows: Floats
    shape: Shape
    factor: float = 1.0

    def as_given(self, made: NDArray[Any]) -> NDArray[Any]:
        """Returns rows in the shape and the units of the input."""
        made = made.reshape(self.shape)
        return made if self.factor == 1 else made / np.float32(self.factor)


def apply_in_batches(
    function: Callable[[Tensor], Tensor],
    rows: Floats,
    shape: Shape,
    on_rows: OnRows | None,
    device: torch.device,
) -> Floats:
    """Applies a function to rows in batches.

    Args:
        function: Maps rows on the device to results on it.
        rows: The rows, in the memory of the CPU.
        shape: The shape of the result of one row.
        on_rows: Called after each batch with the number of rows done and of all rows.
        device: The device on which the function computes.

    Returns:
        The results, shape (N, *shape), in the memory of the CPU.

    Raises:
        UsageError: If `on_rows` is no function.
    """
    if on_rows is not None and not callable(on_rows):
        raise UsageError(f"on_rows is a function that is told of progress; leave out {on_rows!r}")
    raise_malloc_thresholds()
    result = np.empty((len(rows), *shape), dtype=np.float32)
    at_once = _rows_at_once(max(rows.shape[1:], shape, key=prod), device)
    batches = [slice(start, start + at_once) for start in range(0, len(rows), at_once)]
    compute = _on_gpu if device.type == "cuda" else _on_cpu
    with torch.inference_mode():
        for place, made in zip(batches, compute(function, rows, batches, device), strict=True):
            result[place] = made.numpy()
            if on_rows:
                on_rows(min(place.stop, len(rows)), len(rows))
    return result


def _on_cpu(
    function: Callable[[Tensor], Tensor], rows: Floats, batches: list[slice], device: torch.device
) -> Iterator[Tensor]:
    for place in batches:
        yield function(torch.from_numpy(rows[place]))


def _on_gpu(
    function: Callable[[Tensor], Tensor], rows: Floats, batches: list[slice], device: torch.device
) -> Iterator[Tensor]:
    """Yields the result of each batch once the next is under way, so that the GPU never waits."""
    before: tuple[Tensor, torch.cuda.Event] | None = None
    for place in batches:
        # Only from pinned memory is a copy made while the CPU goes on.
        part = torch.from_numpy(rows[place]).pin_memory().to(device, non_blocking=True)
        # By default torch convolves with 10 bits of mantissa; a pair is calibrated with all 23.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            made = function(part).float()
        here = torch.empty(made.shape, dtype=torch.float32, pin_memory=True)
        here.copy_(made, non_blocking=True)
        is_here = torch.cuda.Event()  # type: ignore[no-untyped-call]
        is_here.record()
        if before is not None:
            before[1].synchronize()
            yield before[0]
        before = here, is_here
    if before is not None:
        before[1].synchronize()
        yield before[0]


def _rows_at_once(row_shape: Shape, device: torch.device) -> int:
    """Returns how many rows a batch has, given the larger of a net's input and output shapes."""
    if device.type == "cuda":
        return max(1, min(_NUMBERS_ON_A_GPU // prod(row_shape), _MOST_ROWS_ON_A_GPU))
    is_table = len(row_shape) == 1
    numbers = _NUMBERS_OF_A_TABLE_IN_A_BATCH if is_table else _NUMBERS_IN_A_BATCH
    return max(1, min(numbers // prod(row_shape), _MOST_ROWS_IN_A_BATCH))

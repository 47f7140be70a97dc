"""The scaled rows for training and validation, and where they are kept meanwhile."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import torch
from numpy import float32, int64, ndarray
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from isthmus.data import StoredRows, TrainingPatches
    from isthmus.data.prepared.distributed_table import DistributedRows

# Rows are kept on a GPU only if they take no more than this share of its free memory.
_SHARE_OF_GPU = 0.5
_COPIED_ROWS = 65_536


@dataclass(frozen=True)
class ScaledRows:
    """Scaled rows for training and validation, with the offset and scale applied to them.

    Attributes:
        train: Training rows, shape (N, *row_shape), or (N, 2, *row_shape) for a variant with two
            views. Stored rows are in a file on this machine, because they may not fit into its
            memory; distributed rows come from Ray Data during training; patches are cut out of
            whole images.
        validation: Validation rows, shape (M, *row_shape), or (M, 2, *row_shape).
        offset: The value that scaling subtracted; broadcastable to a row.
        scale: The divisor of scaling; broadcastable to a row.
    """

    train: NDArray[float32] | StoredRows | DistributedRows | TrainingPatches
    validation: NDArray[float32] | StoredRows
    offset: NDArray[float32]
    scale: NDArray[float32]

    def learning_from(self, numbers: NDArray[int64]) -> ScaledRows:
        """Returns the same rows with only some of those to train on, which must be in memory."""
        assert isinstance(self.train, ndarray)  # noqa: S101 (only rows in memory have folds)
        return replace(self, train=self.train[numbers])

    def sizes_bytes(self) -> tuple[int, int]:
        """Returns the size of the rows in memory, and of those in files, which `in_memory` reads.

        Those that come from Ray Data do not count.
        """
        kept, in_files = 0, 0
        for rows in (self.train, self.validation):
            if isinstance(rows, ndarray):
                kept += rows.nbytes
            elif are_patches(rows):
                kept += sum(images.pixels.nbytes for images in rows.views if not images.folder)
                in_files += sum(images.pixels.nbytes for images in rows.views if images.folder)
            elif not is_distributed(rows):
                in_files += 4 * prod(rows.shape)
        return kept, in_files

    def in_memory(self) -> ScaledRows:
        """Returns the same rows in memory, so that they can be sent to another machine."""
        train = self.train
        if are_patches(train):
            train = train.in_memory()
        elif not is_distributed(train):
            train = train[:]
        return replace(self, train=train, validation=self.validation[:])


def is_distributed(
    rows: NDArray[float32] | Tensor | StoredRows | DistributedRows | TrainingPatches,
) -> TypeIs[DistributedRows]:
    """Returns whether rows come from Ray Data, block by block."""
    from isthmus.data.prepared.distributed_table import DistributedRows

    return isinstance(rows, DistributedRows)


def are_patches(
    rows: NDArray[float32] | Tensor | StoredRows | DistributedRows | TrainingPatches,
) -> TypeIs[TrainingPatches]:
    """Returns whether rows are patches, which are cut out of images as they are needed."""
    from isthmus.data import TrainingPatches

    return isinstance(rows, TrainingPatches)


def resident(rows: NDArray[float32] | StoredRows, device: torch.device) -> Tensor | StoredRows:
    """Returns the rows on the device that trains, if they fit there.

    If a GPU has no room for them, rows in memory stay on the CPU, and rows in a file stay in it.
    """
    fits = device.type == "cuda" and (
        4 * prod(rows.shape) <= _SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]
    )
    if isinstance(rows, ndarray):
        with warnings.catch_warnings():
            # Ray's shared memory is read-only, and nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(rows)
        return tensor.to(device) if fits else tensor
    if not fits:
        return rows
    copied = torch.empty(rows.shape, device=device)
    for first in range(0, len(rows), _COPIED_ROWS):
        block = rows[first : first + _COPIED_ROWS]
        copied[first : first + len(block)] = torch.from_numpy(block)
    return copied

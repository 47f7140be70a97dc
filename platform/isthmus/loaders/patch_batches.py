"""A data loader over patches, which are cut out of whole images as training asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isthmus.loaders.batches import Batches, copied_ahead

if TYPE_CHECKING:
    from isthmus.data import TrainingPatches

# Patches of several steps are cut at once, so that small steps wait less for the GPU's copy.
_CUT_BYTES = 1 << 20


@dataclass(kw_only=True)
class PatchBatches(Batches):
    """A data loader over patches at random places, which seed and epoch determine.

    Every worker draws the places of all, and cuts out its share. Patches travel to the device in
    the type of their pixels, a byte each for most images, and are scaled there.

    Attributes:
        rows: The patches.
    """

    rows: TrainingPatches

    @property
    def dataset(self) -> TrainingPatches:
        """The training rows."""
        return self.rows

    def _shares(self, seed: int, first_step: int) -> Iterator[Tensor]:
        statistics = self.rows.statistics
        offset, scale = (
            (torch.zeros(1), torch.ones(1))
            if statistics is None
            else (torch.tensor(statistics.offset), torch.tensor(statistics.scale))
        )
        offset, scale = offset.to(self.device), scale.to(self.device)
        for cut in copied_ahead(self._cut(seed, first_step), self.device):
            scaled = cut.to(torch.float32).sub_(offset).div_(scale)
            if cut.is_floating_point():  # whole numbers have no NaN, which stands for the mean
                scaled.nan_to_num_(nan=0.0)
            yield from torch.split(scaled, self.rows_per_step)

    def _cut(self, seed: int, first_step: int) -> Iterator[Tensor]:
        """Yields this worker's patches from `first_step` on, as many as are cut at once."""
        places = self.rows.draw(seed).take(slice(0, self.rows_per_epoch))
        places = places.take(slice(first_step * self.rows_per_step * self.workers, None))
        places = places.take(slice(self.rank, None, self.workers))
        steps = max(1, _CUT_BYTES // (self.rows_per_step * prod(self.rows.shape[1:])))
        at_once = steps * self.rows_per_step
        for first in range(0, len(places), at_once):
            yield torch.from_numpy(self.rows.cut(places.take(slice(first, first + at_once))))

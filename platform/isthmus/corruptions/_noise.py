"""A corruption at a level, or at a level of its own for each row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.corruptions._corruption import Corruption
from isthmus.types import LevelUnit


@dataclass(frozen=True)
class Noise:
    """Puts noise on scaled rows.

    Attributes:
        corruption: The kind of noise.
        levels: The lowest and the highest level, which may be equal.
        unit: The unit of the levels.
    """

    corruption: Corruption
    levels: tuple[float, float]
    unit: LevelUnit

    def drawn(self, x: Tensor, scale: Tensor) -> Tensor:
        """Returns corrupted rows; each row draws its level uniformly from the range.

        Args:
            x: Scaled rows, shape (B, *row).
            scale: The number of data units in a scaled unit; it broadcasts to a row.
        """
        lowest, highest = self.levels
        if lowest == highest:
            return self.corruption(x, self._scaled(lowest, x, scale))
        share = torch.rand(len(x), *([1] * (x.ndim - 1)), device=x.device, dtype=x.dtype)
        return self.corruption(x, self._scaled(lowest + (highest - lowest) * share, x, scale))

    def strongest(self, x: Tensor, scale: Tensor) -> Tensor:
        """Returns rows with the strongest noise of the range; see `drawn` for the arguments."""
        level = min(self.levels) if self.unit is LevelUnit.SNR_DB else max(self.levels)
        return self.corruption(x, self._scaled(level, x, scale))

    def weakest(self, x: Tensor, scale: Tensor) -> Tensor | None:
        """Returns rows with the weakest noise of the range; see `drawn` for the arguments.

        It is `None` if there is but one level, or the lowest is no noise.
        """
        lowest, highest = self.levels
        is_ratio = self.unit is LevelUnit.SNR_DB
        if lowest == highest or (not is_ratio and lowest <= 0):
            return None
        return self.corruption(x, self._scaled(highest if is_ratio else lowest, x, scale))

    def _scaled(self, level: float | Tensor, x: Tensor, scale: Tensor) -> float | Tensor:
        """Returns a level in the unit that the corruption takes."""
        match self.unit:
            case LevelUnit.SCALED:
                return level
            case LevelUnit.DATA:
                return level / scale
        # Of a signal around its mean: a constant offset is no signal.
        centred = x - x.flatten(2).mean(dim=2).reshape(*x.shape[:2], *([1] * (x.ndim - 2)))
        spread = centred.square().flatten(1).mean(dim=1).sqrt()
        return spread.reshape(-1, *([1] * (x.ndim - 1))) * 10 ** (-level / 20)

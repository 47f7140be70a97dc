"""The murmur of other voices, for sounds and series.

Shapes: x is (B, C, T), a batch of windows; K is the number of voices.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.corruptions._corruption import Corruption
from isthmus.corruptions._signals import at_level
from isthmus.spec import SpecModel
from isthmus.types import DataKind, LevelUnit


class Babble(Corruption):
    """Adds other rows of the batch, each as loud as the others and begun at a random step.

    Source: Krishnamurthy & Hansen 2009, "Babble Noise: Modeling, Analysis, and Applications", IEEE
    Transactions on Audio, Speech, and Language Processing 17(7), section II.
    """

    class Config(SpecModel):
        """The number of voices."""

        voices: int = Field(default=5, ge=1, le=64)
        """The number of other rows that are added to each."""

    SUMMARY: ClassVar[str] = "adds other rows, as voices; the level is their standard deviation"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES, DataKind.AUDIO)
    LEVELS_IN: ClassVar[tuple[LevelUnit, ...]] = tuple(LevelUnit)
    options: Config

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Adds noise of root mean square `level` in each row; a single row is its own noise."""
        rows, channels, steps = x.shape
        chance_KB = torch.rand(2, self.options.voices, rows, device=x.device)
        # A distance of 1 to `rows - 1` never leads back to the row itself.
        away_KB = 1 + (chance_KB[0] * (rows - 1)).long()
        others_KB = (torch.arange(rows, device=x.device) + away_KB) % rows
        begins_KB1 = (chance_KB[1] * steps).long()[..., None]
        steps_KBT = (torch.arange(steps, device=x.device) + begins_KB1) % steps
        steps_KBCT = steps_KBT[:, :, None].expand(-1, -1, channels, -1)
        voices_KBCT = at_level(x, 1.0)[others_KB].gather(3, steps_KBCT)
        return x + at_level(voices_KBCT.sum(dim=0), level)

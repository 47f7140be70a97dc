"""Shot noise: counts of few photons or events."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from isthmus.corruptions._corruption import Corruption
from isthmus.corruptions._counts import shot_noise
from isthmus.types import DataKind, LevelUnit


class Poisson(Corruption):
    """Draws counts, with an expected count of `1 / level**2` at value 1, and scales them back.

    The standard deviation is `level` at value 1 and `level * sqrt(x)` at value x. The rows must be
    in [0, 1] (`data.scaling: minmax`, the default for images); values below 0 count as 0.

    Source: Hasinoff 2014, "Photon, Poisson Noise", Computer Vision: A Reference Guide.
    """

    SUMMARY: ClassVar[str] = "draws counts; the level is the standard deviation at value 1"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.TABULAR, DataKind.IMAGES, DataKind.SERIES)
    NEEDS_UNIT_RANGE: ClassVar[bool] = True
    LEVELS_IN: ClassVar[tuple[LevelUnit, ...]] = (LevelUnit.SCALED, LevelUnit.DATA)
    HIGHEST_LEVEL: ClassVar[float] = 1.0
    AUTO_LEVELS: ClassVar[tuple[float, float]] = (0.02, 0.22)

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Adds noise of mean 0 and variance `level**2 * x`."""
        return shot_noise(x, level)

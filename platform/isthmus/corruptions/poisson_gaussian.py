"""The noise of a camera: shot noise of the light, and normal noise of reading the sensor."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.corruptions._corruption import Corruption
from isthmus.corruptions._counts import shot_noise
from isthmus.spec import SpecModel
from isthmus.types import DataKind, LevelUnit


class PoissonGaussian(Corruption):
    """Draws counts as `poisson` does, and adds normal noise of one strength everywhere.

    The variance at value x is `level**2 * x + read_noise**2`. The rows must be in [0, 1]
    (`data.scaling: minmax`, the default for images); values below 0 count as 0.

    Source: Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data", IEEE TIP 17(10), equation 2.
    """

    class Config(SpecModel):
        """The noise of reading the sensor."""

        read_noise: float = Field(default=0.01, ge=0.0, le=1.0)
        """The standard deviation of the normal noise, in scaled units: a share of the range of the
        rows, whatever unit the level has."""

    SUMMARY: ClassVar[str] = "a camera's noise; the level is its shot noise at value 1"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.TABULAR, DataKind.IMAGES, DataKind.SERIES)
    NEEDS_UNIT_RANGE: ClassVar[bool] = True
    LEVELS_IN: ClassVar[tuple[LevelUnit, ...]] = (LevelUnit.SCALED, LevelUnit.DATA)
    HIGHEST_LEVEL: ClassVar[float] = 1.0
    AUTO_LEVELS: ClassVar[tuple[float, float]] = (0.02, 0.22)
    options: Config

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Adds noise of mean 0 and variance `level**2 * x + read_noise**2`."""
        return shot_noise(x, level) + self.options.read_noise * torch.randn_like(x)

"""The denoising autoencoder: receives a corrupted row and must return the clean one."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from isthmus.core import Autoencoder, Corruption, LossOutput, corrupt
from isthmus.spec import SpecModel


class Denoising(Autoencoder):
    """Minimises the loss between the reconstruction of a corrupted row and the row itself.

    Source: Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising
    Autoencoders", ICML, equation 5; corruptions as in Vincent et al. 2010, JMLR 11, section 3.3,
    with speckle (multiplicative) and shot noise (Poisson) besides.
    """

    class Config(SpecModel):
        """The noise."""

        corruption: Corruption = Corruption.GAUSSIAN
        """The noise that is put on the rows: gaussian, masking, salt_and_pepper, speckle, or
        poisson (for rows in [0, 1], `data.scaling: minmax`; values below 0 count as 0)."""
        level: float = Field(default=0.3, gt=0.0)
        """Its strength in scaled units. gaussian: the standard deviation. speckle: the same, as a
        share of the value. masking, salt_and_pepper: the share of values that change, up to 1.
        poisson: the standard deviation at value 1, up to 1; there 1 / level**2 counts are
        expected."""
        lowest_level: float | None = Field(default=None, ge=0.0)
        """If given, each row draws its level uniformly between this and `level`, so that one
        model handles both weak and strong noise."""

        @model_validator(mode="after")
        def _levels_fit(self) -> Denoising.Config:
            if self.corruption.takes_a_share and self.level > 1.0:
                raise ValueError(
                    f"level={self.level:g} is a share for {self.corruption}; use 0 to 1"
                )
            if self.corruption is Corruption.POISSON and self.level > 1.0:
                raise ValueError(
                    f"level={self.level:g} leaves less than one count at value 1 for poisson; use "
                    "0 to 1"
                )
            if self.lowest_level is not None and self.lowest_level > self.level:
                raise ValueError(
                    f"lowest_level={self.lowest_level:g} is above level={self.level:g}; swap them"
                )
            return self

    SUMMARY: ClassVar[str] = "learns to take noise away; for denoising, and robust features"
    TAKES_SKIPS: ClassVar[bool] = True
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of scaled rows (B, *row_shape), which are corrupted before encoding."""
        noisy = corrupt(x, self.options.corruption, self._level(x))
        reconstruction = self.reconstruction_term(self.decoder(self.encoder(noisy)), x)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

    def noised(self, x: Tensor) -> Tensor:
        """Returns scaled rows (B, *row_shape), corrupted at the highest level."""
        return corrupt(x, self.options.corruption, self.options.level)

    def _level(self, x: Tensor) -> float | Tensor:
        lowest, highest = self.options.lowest_level, self.options.level
        if lowest is None:
            return highest
        share = torch.rand(len(x), *([1] * (x.ndim - 1)), device=x.device, dtype=x.dtype)
        return lowest + (highest - lowest) * share

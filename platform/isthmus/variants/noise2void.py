"""Noise2Void: learns to denoise from single noisy rows, by the neighbours of each value."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput
from isthmus.core.blindspot import Sampling, blind_spots
from isthmus.core.masking import masked_error
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import DataKind


class Noise2Void(Autoencoder):
    """Minimises the loss at blind spots: places whose own value is hidden from the encoder.

    A few places of a row get a random neighbour's value, and the target is the row's own noisy
    value at these places alone. Noise that is independent between places cannot be predicted from
    the neighbours, but the signal can; so the signal is what is learned.

    The error is summed over the blind spots and divided by their share of the row, so that it is on
    the scale of a whole row's error.

    Source: Krull et al. 2019, "Noise2Void: Learning Denoising from Single Noisy Images",
    arXiv:1811.10980, sections 3.4 and 3.5; a place is never drawn as its own neighbour.
    """

    class Config(SpecModel):
        """The blind spots."""

        share: float = Field(default=0.1, gt=0.0, le=0.5)
        """Share of a row's places (pixels or steps) that are blind in one step; at least one is.
        More learns faster from small rows; large images need less, 0.002 to 0.02."""
        radius: int = Field(default=2, ge=1, le=1024)
        """The largest distance of the neighbour, on each axis, in pixels or steps."""
        sampling: Sampling = "stratified"
        """`stratified` puts one blind spot into each cell of a grid, so that they lie apart;
        `uniform` draws them from anywhere."""

    SUMMARY: ClassVar[str] = (
        "denoises from single noisy rows; noise must differ from place to place"
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES, DataKind.SERIES, DataKind.AUDIO)
    TAKES_SKIPS: ClassVar[bool] = True
    REMOVES_NOISE: ClassVar[bool] = True
    NEEDS_ELEMENTWISE_LOSS: ClassVar[bool] = True
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why rows of a single place, which has no neighbours, do not work; else `None`."""
        if prod(plan.row_shape[1:]) > 1:
            return None
        return "noise2void asks the neighbours, and a row is a single place; use plain"

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the error of scaled rows (B, *row_shape) at places hidden from the encoder."""
        shown, mask = blind_spots(x, self.options.share, self.options.radius, self.options.sampling)
        output = self.decoder(self.encoder(shown))
        reconstruction = masked_error(self.reconstruction, output, x, mask).mean()
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

"""Noise2Noise: learns to denoise from pairs of noisy measurements, with no clean row anywhere."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput


class Noise2Noise(Autoencoder):
    """Minimises the loss between what one noisy view of a row gives and another view of it.

    The noise of the target cannot be foreseen from the input, so the best that can be given is
    its mean (`mse`), median (`l1`): the clean row, where the noise has mean, median 0 and is
    independent between the views. Either view is input and target in turn.

    Source: Lehtinen et al. 2018, "Noise2Noise: Learning Image Restoration without Clean Data",
    arXiv:1803.04189, equations 3 to 6.
    """

    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    SUMMARY: ClassVar[str] = "denoises from two noisy views of each row; when no clean data exist"
    VIEWS: ClassVar[int] = 2
    TAKES_SKIPS: ClassVar[bool] = True

    def loss(self, x: Tensor) -> LossOutput:
        """The mean of both directions' reconstruction losses.

        Args:
            x: Shape (B, 2, *row_shape): two noisy views of each of B rows, scaled.
        """
        first, second = x.unbind(dim=1)
        output = self.decoder(self.encoder(torch.cat([first, second])))
        reconstruction = self.reconstruction_term(output, torch.cat([second, first]))
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

"""Noise2Noise: learns to denoise from pairs of noisy measurements, without any clean row."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput


class Noise2Noise(Autoencoder):
    """Minimises the loss between the reconstruction of one noisy view of a row and another view.

    The noise of the target cannot be predicted from the input, so the best prediction is the
    target's mean (`mse`) or median (`l1`): the clean row, if the noise has mean or median 0 and is
    independent between the views. Each view is both input and target.

    Source: Lehtinen et al. 2018, "Noise2Noise: Learning Image Restoration without Clean Data",
    arXiv:1803.04189, equations 3 to 6.
    """

    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    SUMMARY: ClassVar[str] = "denoises from two noisy views of each row; when no clean data exist"
    VIEWS: ClassVar[int] = 2
    TAKES_SKIPS: ClassVar[bool] = True
    REMOVES_NOISE: ClassVar[bool] = True

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the mean of both directions' reconstruction losses.

        Args:
            x: Shape (B, 2, *row_shape): two noisy views of each of B rows, scaled.
        """
        first, second = x.unbind(dim=1)
        output = self.decoder(self.encoder(torch.cat([first, second])))
        reconstruction = self.reconstruction_term(output, torch.cat([second, first]))
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

"""Noise2Noise: learns to denoise from pairs of noisy measurements, with no clean row anywhere."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput


class Noise2Noise(Autoencoder):
    """Minimises the loss between what one noisy look at a row gives and another look at it.

    The noise of the target cannot be foreseen from the input, so the best that can be given is
    its mean (`mse`), median (`l1`): the clean row, where the noise has mean, median 0 and is
    independent between the looks. Either look is input and target in turn.

    Source: Lehtinen et al. 2018, "Noise2Noise: Learning Image Restoration without Clean Data",
    arXiv:1803.04189, equations 3 to 6.
    """

    STEPS_ARE_ALIKE: ClassVar[bool] = True
    SUMMARY: ClassVar[str] = "denoises from two noisy looks at each row; when no clean data exist"
    LOOKS: ClassVar[int] = 2
    TAKES_SKIPS: ClassVar[bool] = True

    def loss(self, x: Tensor) -> LossOutput:
        """The mean of both directions' reconstruction losses.

        Args:
            x: Shape (B, 2, *row_shape): two noisy looks at each of B rows, scaled.
        """
        first, second = x.unbind(dim=1)
        output = self.decoder(self.encoder(torch.cat([first, second])))
        reconstruction = self.reconstruction_term(output, torch.cat([second, first]))
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

"""Probability models of rounded latents, as an entropy coder needs them.

Shapes: y_BD are latents, and each of the D dimensions has its own density. The likelihood of y is
the probability that a draw from the density lies within 0.5 of y, and so is rounded to y.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.all_digits import with_all_digits

# An entropy coder cannot encode a value of probability 0.
_LEAST_LIKELIHOOD = 1e-9
LEAST_SCALE = 0.11
"""The smallest standard deviation of a rounded latent: nearly all probability is at one number."""


class FactorizedDensity(nn.Module):
    """A learned density of free form for each latent dimension.

    The cumulative distribution of each density is a small monotone net.

    Source: Balle et al. 2018, "Variational image compression with a scale hyperprior",
    arXiv:1802.01436, appendix 6.1, equations 24 to 30.
    """

    def __init__(
        self, size: int, widths: tuple[int, ...] = (3, 3, 3), initial_scale: float = 10.0
    ) -> None:
        """Initialises one net for each latent dimension.

        Args:
            size: The number of latent dimensions, D.
            widths: The widths of the hidden layers.
            initial_scale: The width of the densities before training.
        """
        super().__init__()
        layers = list(pairwise((1, *widths, 1)))
        scale = initial_scale ** (1 / len(layers))
        self.matrices = nn.ParameterList()
        self.offsets = nn.ParameterList()
        self.gates = nn.ParameterList()
        for before, after in layers:
            start = torch.expm1(torch.tensor(1 / scale / after)).log()
            self.matrices.append(nn.Parameter(start.repeat(size, after, before)))
            self.offsets.append(nn.Parameter(torch.rand(size, after, 1) - 0.5))
        for _, after in layers[:-1]:
            self.gates.append(nn.Parameter(torch.zeros(size, after, 1)))

    @with_all_digits
    def cumulative_logits(self, y_BD: Tensor) -> Tensor:
        """Computes the log odds of the cumulative distribution at y, shape (B, D)."""
        x_D1B = y_BD.t().unsqueeze(1)
        for number, (matrix, offset) in enumerate(zip(self.matrices, self.offsets, strict=True)):
            x_D1B = functional.softplus(matrix) @ x_D1B + offset
            if number < len(self.gates):
                x_D1B = x_D1B + self.gates[number].tanh() * x_D1B.tanh()
        return x_D1B.squeeze(1).t()

    def cumulative(self, y_BD: Tensor) -> Tensor:
        """Computes the cumulative distribution at y, shape (B, D), in [0, 1]."""
        return self.cumulative_logits(y_BD).sigmoid()

    @with_all_digits
    def likelihood(self, y_BD: Tensor) -> Tensor:
        """Computes the probability of a value within 0.5 of y, shape (B, D), above 0."""
        lower = self.cumulative_logits(y_BD - 0.5)
        upper = self.cumulative_logits(y_BD + 0.5)
        # The difference is taken in the nearer tail, where the sigmoid does not saturate at 1.
        sign = torch.where(lower + upper > 0, -1.0, 1.0)
        share = ((sign * upper).sigmoid() - (sign * lower).sigmoid()).abs()
        return share.clamp(min=_LEAST_LIKELIHOOD)


def normal_likelihood(y: Tensor, scale: Tensor) -> Tensor:
    """Computes the probability of a value within 0.5 of y, in the shape of y, above 0.

    The distribution is normal, with mean 0 and standard deviation `scale`.

    Source: Balle et al. 2018, arXiv:1802.01436, equation 6.
    """
    scale = scale.clamp(min=LEAST_SCALE)
    distance = y.abs()
    near, far = (0.5 - distance) / scale, (-0.5 - distance) / scale
    share: Tensor = torch.special.ndtr(near) - torch.special.ndtr(far)
    return share.clamp(min=_LEAST_LIKELIHOOD)


def bits(likelihood: Tensor) -> Tensor:
    """Computes the bits that an ideal entropy coder needs for each row: (B, D) to (B,)."""
    return -likelihood.log2().sum(dim=1)


def with_noise(y: Tensor) -> Tensor:
    """Adds uniform noise to latents in place of rounding them, which has no gradient.

    Source: Balle et al. 2016, "End-to-end optimization of nonlinear transform codes for
    perceptual quality", arXiv:1607.05006, section 3.
    """
    return y + torch.rand_like(y) - 0.5


def rounded(y: Tensor) -> Tensor:
    """Rounds latents; gradients pass straight."""
    return y + (y.round() - y).detach()

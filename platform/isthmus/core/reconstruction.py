"""Reconstruction losses, each with the output activation that it is the likelihood of.

Everywhere: summed over the numbers of a row, averaged over the rows of a batch. That is the
reduction under which KL and beta weights mean what papers mean. Losses that are a mean by nature
(SSIM, spectral) are multiplied by the numbers in a row, so that they weigh as the others do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core.all_digits import with_all_digits
from isthmus.core.similarity import multiscale_ssim, ssim
from isthmus.core.spectrum import spectral_distance
from isthmus.types import DataKind, ReconstructionLoss, Shape

_ELEMENTWISE: dict[ReconstructionLoss, Callable[..., Tensor]] = {
    ReconstructionLoss.MSE: functional.mse_loss,
    # From logits: the sigmoid is part of the loss, which keeps its gradient where it saturates.
    ReconstructionLoss.BCE: functional.binary_cross_entropy_with_logits,
    ReconstructionLoss.L1: functional.l1_loss,
    ReconstructionLoss.HUBER: functional.smooth_l1_loss,
}
# A variance below this gives a likelihood without bound on data that are reconstructed exactly.
_LEAST_LOG_VARIANCE = -8.0


class Reconstruction(nn.Module):
    """How far the decoder's output is from a row, and what the output becomes.

    Attributes:
        log_variance: For `gaussian_nll` alone, the learned log variance of the data around the
            reconstruction: shape (F,) for a table, (C, 1, ...) for the others.
    """

    log_variance: nn.Parameter

    def __init__(self, loss: ReconstructionLoss, row_shape: Shape) -> None:
        super().__init__()
        self.loss = loss
        self._features = prod(row_shape)
        if loss is ReconstructionLoss.GAUSSIAN_NLL:
            shape = (
                row_shape if len(row_shape) == 1 else (row_shape[0],) + (1,) * (len(row_shape) - 1)
            )
            self.log_variance = nn.Parameter(torch.zeros(shape))

    @with_all_digits
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The error of each row.

        Args:
            output: Shape (B, *row). The decoder's raw output, before `activate`.
            target: Shape (B, *row), in scaled units; in [0, 1] for BCE and SSIM.

        Returns:
            Shape (B,), summed over a row's numbers; in nats for BCE and `gaussian_nll`. `mse` is
            a negative log likelihood too, of a normal distribution of variance 1/2, but for a
            constant.
        """
        match self.loss:
            case ReconstructionLoss.SSIM:
                return self._features * (1.0 - ssim(output, target))
            case ReconstructionLoss.MS_SSIM:
                return self._features * (1.0 - multiscale_ssim(output, target))
            case ReconstructionLoss.SPECTRAL:
                near = (output - target).abs().flatten(1).sum(dim=1)
                return near + self._features * spectral_distance(output, target)
            case _:
                return self.elementwise(output, target).flatten(1).sum(dim=1)

    @with_all_digits
    def mean(self, output: Tensor, target: Tensor) -> Tensor:
        """The error of a row, averaged over the batch, shape (); as `forward`, in fewer passes."""
        if self.loss in _ELEMENTWISE:
            return _ELEMENTWISE[self.loss](output, target, reduction="sum") / len(target)
        error: Tensor = self(output, target)
        return error.mean()

    @with_all_digits
    def elementwise(self, output: Tensor, target: Tensor) -> Tensor:
        """The error of each number, shape (B, *row); only where the loss is elementwise."""
        if self.loss is ReconstructionLoss.GAUSSIAN_NLL:
            log_variance = self.log_variance.clamp(min=_LEAST_LOG_VARIANCE)
            scaled = (output - target).square() * (-log_variance).exp()
            return 0.5 * (log(2 * pi) + log_variance + scaled)
        return _ELEMENTWISE[self.loss](output, target, reduction="none")

    def log_likelihood(self, output: Tensor, target: Tensor) -> Tensor:
        """log p(row | latent), shape (B,), in nats; for MSE of variance 1/2, up to a constant."""
        error: Tensor = self(output, target)
        return -error

    def activate(self, output: Tensor) -> Tensor:
        """Raw output as a reconstruction in scaled units: a sigmoid for BCE, else itself."""
        return torch.sigmoid(output) if self.loss is ReconstructionLoss.BCE else output


def refusal(loss: ReconstructionLoss, kind: DataKind, row_shape: Shape | None = None) -> str | None:
    """Why a loss does not suit such rows, and which does; `None` if it does."""
    if (
        loss in (ReconstructionLoss.SSIM, ReconstructionLoss.MS_SSIM)
        and kind is not DataKind.IMAGES
    ):
        return f"{loss} compares images, and the data are {kind}; use mse, l1 or huber"
    if loss is ReconstructionLoss.SPECTRAL and kind not in (DataKind.AUDIO, DataKind.SERIES):
        return f"spectral compares waves, and the data are {kind}; use mse, l1 or huber"
    if row_shape is None:
        return None
    if loss is ReconstructionLoss.MS_SSIM and min(row_shape[1:]) < 32:
        return (
            f"ms_ssim halves images of {row_shape[1]} x {row_shape[2]} pixels until nothing is "
            "left; use ssim, or images of at least 32 x 32"
        )
    if loss is ReconstructionLoss.SPECTRAL and row_shape[-1] < 32:
        return f"spectral needs windows of at least 32 steps, and they have {row_shape[-1]}; use l1"
    return None

"""Reconstruction losses, each with the output activation that belongs to its likelihood.

Every loss is summed over the values of a row and averaged over the rows of a batch. With this
reduction, KL and beta weights mean the same as in papers. Losses that are means by definition
(SSIM, spectral, SNR) are multiplied by the number of values in a row, so that they have the same
weight as the others.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.all_digits import with_all_digits
from isthmus.core.similarity import log_noise_to_signal, multiscale_ssim, ssim
from isthmus.core.spectrum import spectral_distance
from isthmus.types import ReconstructionLoss, Shape

_ELEMENTWISE: dict[ReconstructionLoss, Callable[..., Tensor]] = {
    ReconstructionLoss.MSE: functional.mse_loss,
    # BCE takes logits: with the sigmoid inside the loss, a saturated one still has a gradient.
    ReconstructionLoss.BCE: functional.binary_cross_entropy_with_logits,
    ReconstructionLoss.L1: functional.l1_loss,
    ReconstructionLoss.HUBER: functional.smooth_l1_loss,
}
# Without a least variance, the likelihood of data that are reconstructed exactly is unbounded.
_LEAST_LOG_VARIANCE = -8.0


class Reconstruction(nn.Module):
    """The loss between the decoder's output and the target rows, and the output's activation.

    Attributes:
        log_variance: The learned log variance of the data around the reconstruction, which only
            `gaussian_nll` has. Its shape is (F,) for a table and (C, 1, ...) for other data.
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
        """Computes the error of each row.

        Args:
            output: The decoder's raw output, before `activate`, shape (B, *row).
            target: The target in scaled units, shape (B, *row); in [0, 1] for BCE and SSIM.

        Returns:
            The errors, shape (B,), summed over the values of a row. BCE and `gaussian_nll` are in
            nats. `mse` is also a negative log-likelihood, up to a constant, of a normal
            distribution with variance 1/2, and `snr` of one with the best variance for each row.
        """
        match self.loss:
            case ReconstructionLoss.SSIM:
                return self._features * (1.0 - ssim(output, target))
            case ReconstructionLoss.MS_SSIM:
                return self._features * (1.0 - multiscale_ssim(output, target))
            case ReconstructionLoss.SPECTRAL:
                near = (output - target).abs().flatten(1).sum(dim=1)
                return near + self._features * spectral_distance(output, target)
            case ReconstructionLoss.SNR:
                return 0.5 * self._features * log_noise_to_signal(output, target)
            case _:
                return self.elementwise(output, target).flatten(1).sum(dim=1)

    @with_all_digits
    def mean(self, output: Tensor, target: Tensor) -> Tensor:
        """Computes the mean of `forward` over the batch, shape (), in fewer passes over memory."""
        if self.loss in _ELEMENTWISE:
            return _ELEMENTWISE[self.loss](output, target, reduction="sum") / len(target)
        error: Tensor = self(output, target)
        return error.mean()

    @with_all_digits
    def elementwise(self, output: Tensor, target: Tensor) -> Tensor:
        """Computes the error of each value, shape (B, *row). The loss must be elementwise."""
        if self.loss is ReconstructionLoss.GAUSSIAN_NLL:
            log_variance = self.log_variance.clamp(min=_LEAST_LOG_VARIANCE)
            scaled = (output - target).square() * (-log_variance).exp()
            return 0.5 * (log(2 * pi) + log_variance + scaled)
        if self.loss in (ReconstructionLoss.L1, ReconstructionLoss.HUBER):
            # In operations that ONNX supports: a score may be made of them.
            distance = (output - target).abs()
            near = distance.clamp(max=1.0)
            is_l1 = self.loss is ReconstructionLoss.L1
            return distance if is_l1 else near * (distance - 0.5 * near)
        return _ELEMENTWISE[self.loss](output, target, reduction="none")

    def log_likelihood(self, output: Tensor, target: Tensor) -> Tensor:
        """Computes log p(row | latent), shape (B,), in nats.

        For MSE the variance is 1/2, and a constant is left out.
        """
        error: Tensor = self(output, target)
        return -error

    def activate(self, output: Tensor) -> Tensor:
        """Converts raw output to scaled units: by a sigmoid for BCE, otherwise it is unchanged."""
        return torch.sigmoid(output) if self.loss is ReconstructionLoss.BCE else output

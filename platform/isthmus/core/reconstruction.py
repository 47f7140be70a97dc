"""Reconstruction losses, each with the output activation that it is the likelihood of.

Everywhere: summed over the numbers of a row, averaged over the rows of a batch. That is the
reduction under which KL and beta weights mean what papers mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.types import ReconstructionLoss

_ELEMENTWISE: dict[ReconstructionLoss, Callable[..., Tensor]] = {
    ReconstructionLoss.MSE: functional.mse_loss,
    # From logits: the sigmoid is part of the loss, which keeps its gradient where it saturates.
    ReconstructionLoss.BCE: functional.binary_cross_entropy_with_logits,
    ReconstructionLoss.L1: functional.l1_loss,
    ReconstructionLoss.HUBER: functional.smooth_l1_loss,
}


def reconstruction_error(output: Tensor, target: Tensor, loss: ReconstructionLoss) -> Tensor:
    """How far the decoder's output is from the target.

    Args:
        output: Shape (B, *row). The decoder's raw output, before `activate`.
        target: Shape (B, *row), in scaled units; in [0, 1] for BCE.
        loss: Which loss. Huber's threshold is 1 in scaled units.

    Returns:
        Shape (B,), summed over a row's numbers; in nats for BCE.
    """
    return _ELEMENTWISE[loss](output, target, reduction="none").flatten(1).sum(dim=1)


def activate(output: Tensor, loss: ReconstructionLoss) -> Tensor:
    """Raw output as a reconstruction in scaled units: a sigmoid for BCE, else itself."""
    return torch.sigmoid(output) if loss is ReconstructionLoss.BCE else output

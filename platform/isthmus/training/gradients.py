"""The gradients of a step, averaged over the workers that share it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class SharedGradients:
    """Every worker's gradients as one vector, so that a step exchanges one message.

    Attributes:
        parameters: Those that are trained.
    """

    def __init__(self, module: nn.Module, workers: int) -> None:
        """Args:
        module: Whose gradients; all workers call this together, and then have equal weights.
        workers: That share a step; nothing is exchanged if there is one.
        """
        self.parameters = [each for each in module.parameters() if each.requires_grad]
        self._workers = workers
        self._flat: Tensor | None = None
        if workers > 1:
            self._flat = _laid_out(self.parameters)
            for parameter in module.parameters():
                distributed.broadcast(parameter.data, src=0)

    def clear(self) -> None:
        """Before a step."""
        if self._flat is None:
            for parameter in self.parameters:
                parameter.grad = None
        else:
            self._flat.zero_()

    def share(self) -> None:
        """After the backward pass: every worker then has the mean of all workers' gradients."""
        if self._flat is not None:
            distributed.all_reduce(self._flat)
            self._flat.div_(self._workers)


def _laid_out(parameters: list[nn.Parameter]) -> Tensor:
    """One vector of zeros, parts of which are the parameters' gradients."""
    total = sum(each.numel() for each in parameters)
    flat = torch.zeros(total, dtype=parameters[0].dtype, device=parameters[0].device)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.grad = flat[start:end].view_as(parameter)
        start = end
    return flat

"""The gradients of a step, summed over the workers that share it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from isthmus.training.exchange import Exchange, exchange_for

_STEPS_BETWEEN_READS = 32


class SharedGradients:
    """Every worker's gradients, summed in one exchange a step.

    Attributes:
        parameters: Those that are trained.
    """

    def __init__(self, module: nn.Module, workers: int, workers_here: int) -> None:
        """Args:
        module: Whose gradients; all workers call this together, and then have equal weights.
        workers: That share a step; nothing is exchanged if there is one.
        workers_here: Of them on this machine.
        """
        self.parameters = [each for each in module.parameters() if each.requires_grad]
        self._sum: Exchange | None = None
        self._steps = 0
        if workers > 1:
            # By which a worker tells the others that it is to leave.
            self._flag = self.parameters[0].new_zeros(1)
            self._sum = exchange_for([*self.parameters, self._flag], workers, workers_here)
            for parameter in module.parameters():
                distributed.broadcast(parameter.data, src=0)

    def clear(self) -> None:
        """Before a step: the backward pass then hands its tensors over, and need not add."""
        for parameter in self.parameters:
            parameter.grad = None

    def share(self, is_leaving: bool) -> bool:
        """After the backward pass: every worker then has the sum of all workers' gradients.

        Each is to take those of its loss over the number of workers, so that the sum is the mean
        loss's: a pass over the gradients that divides them is a tenth of the time of the exchange.

        Args:
            is_leaving: Whether this worker is to leave the epoch.

        Returns:
            Whether any worker is, the same on all; on a GPU as of some steps ago.
        """
        if self._sum is None:
            return is_leaving
        mine = [_gradient(parameter) for parameter in self.parameters]
        *sums, leaving = self._sum([*mine, self._flag.fill_(is_leaving)])
        for parameter, summed in zip(self.parameters, sums, strict=True):
            if parameter.grad is not summed:
                parameter.grad = summed
        self._steps += 1
        # Reading a number waits for a GPU.
        if leaving.is_cuda and self._steps % _STEPS_BETWEEN_READS:
            return False
        return bool(leaving > 0)


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Zeros where the loss knows no parameter."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

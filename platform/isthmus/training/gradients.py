"""The gradients of a step, summed over the workers that share it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from isthmus.training.exchange import exchange_for

_STEPS_BETWEEN_READS = 32


class SharedGradients:
    """Every worker's gradients as one vector, so that a step exchanges one message.

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
        self._total: Tensor | None = None
        self._views: list[Tensor] = []
        self._steps = 0
        if workers > 1:
            # And one number more, by which a worker tells the others that it is to leave.
            numbers = sum(each.numel() for each in self.parameters) + 1
            self._total = self.parameters[0].new_zeros(numbers)
            self._views = _views(self._total[:-1], self.parameters)
            self._nothing = [torch.zeros_like(view).flatten() for view in self._views]
            self._flags = (self._total.new_zeros(1), self._total.new_ones(1))
            self._sum = exchange_for(numbers, workers, workers_here, self._total.device)
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
        if self._total is None:
            return is_leaving
        self._sum([*self._parts(), self._flags[is_leaving]], self._total)
        for parameter, view in zip(self.parameters, self._views, strict=True):
            parameter.grad = view
        self._steps += 1
        # Reading a number waits for a GPU.
        if self._total.is_cuda and self._steps % _STEPS_BETWEEN_READS:
            return False
        return bool(self._total[-1] > 0)

    def _parts(self) -> list[Tensor]:
        """This worker's gradients, of one axis each; zeros where the loss knows no parameter."""
        return [
            nothing if parameter.grad is None else parameter.grad.flatten()
            for parameter, nothing in zip(self.parameters, self._nothing, strict=True)
        ]


def _views(flat: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Parts of one vector, each in the shape of a parameter."""
    parts = torch.split(flat, [each.numel() for each in parameters])
    return [part.view_as(each) for part, each in zip(parts, parameters, strict=True)]

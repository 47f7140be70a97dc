"""One optimizer step that several workers take together."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from isthmus.core.workers import from_first_worker

_STEPS_BETWEEN_READS = 32


class JointStep:
    """A step of a worker that trains alone, and what the steps of several have in common.

    In the order of a step: `begin`, the backward pass, `share`, `clip`, the optimizer's step,
    `end`. All workers call all of them together.

    Attributes:
        parameters: Those that are trained.
        summed: How many workers' gradients `share` sums. Each takes those of its loss over this
            number, so that the sum is the mean loss's: a pass that divides them is saved.
    """

    def __init__(self, module: nn.Module) -> None:
        """Args:
        module: Whose gradients.
        """
        self.parameters = [each for each in module.parameters() if each.requires_grad]
        self.summed = 1

    def begin(self) -> None:
        """Frees the gradients: the backward pass then hands its own over, and need not add.

        From here on the weights are those that all workers go on with.
        """
        for parameter in self.parameters:
            parameter.grad = None

    def share(self, is_leaving: bool) -> bool:
        """After the backward pass: the gradients become the sums of all workers'.

        Args:
            is_leaving: Whether this worker is to leave the epoch.

        Returns:
            Whether any worker is, the same on all; on a GPU as of some steps ago.
        """
        return is_leaving

    def clip(self, max_norm: float) -> None:
        """Scales the gradients down to an L2 norm, over all parameters, of at most `max_norm`."""
        torch.nn.utils.clip_grad_norm_(self.parameters, max_norm)

    def end(self) -> None:
        """After the optimizer's step: tells the others that this worker's part of it is done."""

    def settle(self) -> None:
        """Before the weights are read between two steps: they are those that all go on with."""

    def end_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """After an epoch's last step: all workers have the same weights, and go on alike."""

    def gather(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a checkpoint: the first worker gets the optimizer's whole state."""


class GroupStep(JointStep):
    """Through torch's process group, NCCL or gloo; every worker has all, and updates all."""

    def __init__(self, module: nn.Module, workers: int) -> None:
        """As `JointStep`; all workers make theirs together, and then have equal weights."""
        super().__init__(module)
        self.summed = workers
        take_first_workers(self.parameters)
        # The last number tells the others that a worker is to leave.
        self._leaving = self.parameters[0].new_empty(1)
        numbers = [each.numel() for each in (*self.parameters, self._leaving)]
        self._total = self._leaving.new_empty(sum(numbers))
        *sums, self._leaving = torch.split(self._total, numbers)
        self._sums = [sum_.view_as(p) for sum_, p in zip(sums, self.parameters, strict=True)]
        self._steps = 0

    def share(self, is_leaving: bool) -> bool:
        """As `JointStep`, in one message."""
        mine = [gradient(parameter).flatten() for parameter in self.parameters]
        torch.cat([*mine, self._leaving.new_full((1,), is_leaving)], out=self._total)
        distributed.all_reduce(self._total)
        for parameter, summed in zip(self.parameters, self._sums, strict=True):
            parameter.grad = summed
        self._steps += 1
        # Reading a number waits for a GPU.
        if self._leaving.is_cuda and self._steps % _STEPS_BETWEEN_READS:
            return False
        return bool(self._leaving > 0)


def take_first_workers(parameters: list[nn.Parameter]) -> None:
    """Every worker's weights become the first one's."""
    for parameter in parameters:
        parameter.data.copy_(from_first_worker(parameter))


def gradient(parameter: Tensor) -> Tensor:
    """Zeros where the loss knows no parameter."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

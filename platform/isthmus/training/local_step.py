"""Steps that each worker takes alone, on weights that are averaged every few steps.

Nobody waits for another at each step. What is learned is not quite what one worker learns.

Source: Lin et al. 2020, "Don't Use Large Mini-batches, Use Local SGD", arXiv:1808.07217; with Adam
as the local optimizer, Reddi et al. 2021, arXiv:2003.00295, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from isthmus.core.workers import mean_over_workers
from isthmus.training.joint_step import JointStep, take_first_workers
from isthmus.training.shared_memory import SharedMemory, suits_memory

_MOMENTS = ("exp_avg", "exp_avg_sq")


class LocalStep(JointStep):
    """Of weights of its own."""

    def __init__(
        self, module: nn.Module, rank: int, workers: int, workers_here: int, steps: int
    ) -> None:
        """Args:
        module: Whose gradients; all workers make theirs together, and then have equal weights.
        rank: This worker, from 0.
        workers: That take part.
        workers_here: Of them on this machine.
        steps: After how many the weights are averaged.
        """
        super().__init__(module)
        take_first_workers(self.parameters)
        self._every = steps
        self._steps = 0
        # The last number tells the others that a worker is to leave.
        self._flag = self.parameters[0].new_zeros(1)
        self._is_left = False
        like = [*self.parameters, self._flag]
        self._average: _Average = (
            _MemoryAverage(like, rank, workers)
            if suits_memory(module, workers, workers_here)
            else _GroupAverage()
        )

    def share(self, is_leaving: bool) -> bool:
        """As `JointStep`: gradients stay this worker's; who leaves is as of the last average."""
        self._flag.fill_(is_leaving)
        return self._is_left

    def end(self) -> None:
        """As `JointStep`."""
        self._steps += 1
        if self._steps % self._every == 0:
            self._average_weights()

    def end_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """As `JointStep`; a run that is resumed here goes on as if it had not stopped."""
        self._steps = 0
        self._average_weights()
        for moment in _MOMENTS:
            found = (optimizer.state.get(each, {}).get(moment) for each in self.parameters)
            # An optimizer without it, SGD, averages zeros: all numbers are one message's.
            pairs = zip(found, self.parameters, strict=True)
            moments = [torch.zeros_like(each) if one is None else one for one, each in pairs]
            self._average([*moments, self._flag])
        self._is_left = False

    def _average_weights(self) -> None:
        self._average([*(each.data for each in self.parameters), self._flag])
        self._is_left = bool(self._flag > 0)


class _Average(Protocol):
    """Makes tensors, in place, the means of all workers'; the same to the last bit on all."""

    def __call__(self, tensors: Sequence[Tensor]) -> None: ...


class _GroupAverage:
    """Through torch's process group, in one message."""

    def __call__(self, tensors: Sequence[Tensor]) -> None:
        mean = mean_over_workers(torch.cat([each.flatten() for each in tensors]))
        parts = torch.split(mean, [each.numel() for each in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


class _MemoryAverage:
    """Through memory that all workers have mapped."""

    def __init__(self, like: Sequence[Tensor], rank: int, workers: int) -> None:
        self._memory = SharedMemory(like, rank, workers, slots=workers)
        self._rank = rank

    def __call__(self, tensors: Sequence[Tensor]) -> None:
        slots = self._memory.slots
        for tensor, mine in zip(tensors, slots[self._rank], strict=True):
            mine.copy_(tensor)
        self._memory.meet()
        # In the same order on all: of more than two numbers the sum depends on it.
        for tensor, first, *others in zip(tensors, *slots, strict=True):
            tensor.copy_(first)
            for other in others:
                tensor += other
            tensor /= len(slots)
        self._memory.meet()  # only now may what was read be overwritten

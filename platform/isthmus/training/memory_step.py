"""One optimizer step that the workers of one machine take together, through its memory.

The weights lie in memory that all workers have mapped, once for all of them. Each worker owns some
of the parameters: it alone gets the others' gradients of them, keeps the optimizer's state of them,
and updates them. So both the exchange and the update are the shorter the more workers there are.

Source: Rajbhandari et al. 2020, "ZeRO", arXiv:1910.02054, its first two stages.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from isthmus.training.joint_step import JointStep, gradient
from isthmus.training.shared_memory import SharedMemory

# Numbers of a gradient that is handed over before the backward pass is through: a call from within
# it takes as long as to copy a few thousand.
_WORTH_A_HOOK = 1 << 16


class MemoryStep(JointStep):
    """Of weights that all workers have mapped."""

    def __init__(self, module: nn.Module, rank: int, workers: int) -> None:
        """Args:
        module: Its parameters, float32, become the first worker's, in shared memory.
        rank: This worker, from 0.
        workers: That take part; all make theirs together.
        """
        super().__init__(module)
        self.summed = workers
        owners = _owners(self.parameters, workers)
        self._owned = [index for index, owner in enumerate(owners) if owner == rank]
        self._not_owned = [index for index, owner in enumerate(owners) if owner != rank]
        self._rank = rank
        self._others = [other for other in range(workers) if other != rank]
        self._memory = SharedMemory(self.parameters, rank, workers, slots=workers + 1)
        # Those that each worker has for the others.
        weights, *self._gradients = self._memory.slots
        for parameter, shared in zip(self.parameters, weights, strict=True):
            if rank == 0:
                shared.copy_(parameter.data)
            parameter.data = shared
        self._handed_over: set[int] = set()
        for index in self._not_owned:
            if self.parameters[index].numel() >= _WORTH_A_HOOK:
                hand_over = partial(self._hand_over, index)
                parameter = self.parameters[index]
                parameter.register_post_accumulate_grad_hook(hand_over)  # type: ignore[no-untyped-call]
        self._memory.meet()

    def begin(self) -> None:
        """As `JointStep`."""
        super().begin()
        self._handed_over.clear()
        self.settle()

    def _hand_over(self, index: int, parameter: Tensor) -> None:
        """Gives the gradient to its owner; a large one as soon as it is there, and in the cache.

        Where the rows are taken in parts, those of the parts are summed. This worker is left
        without it, which the optimizer takes for a parameter that is not to be updated.
        """
        mine = self._gradients[self._rank][index]
        if index in self._handed_over:
            mine += gradient(parameter)
        else:
            mine.copy_(gradient(parameter))
            self._handed_over.add(index)
        parameter.grad = None

    def share(self, is_leaving: bool) -> bool:
        """As `JointStep`, of what this worker owns."""
        self._memory.leaving[self._rank] = is_leaving
        for index in self._not_owned:
            if index not in self._handed_over:
                self._hand_over(index, self.parameters[index])
        self._memory.meet()
        for index in self._owned:
            parameter = self.parameters[index]
            total = gradient(parameter)
            for other in self._others:
                total += self._gradients[other][index]
            parameter.grad = total
        return bool(self._memory.leaving.any())

    def clip(self, max_norm: float) -> None:
        """As `JointStep`."""
        owned = [self.parameters[index] for index in self._owned]
        norm = torch.nn.utils.get_total_norm([gradient(each) for each in owned])
        self._memory.squared_norm[self._rank] = norm.double().square().item()
        self._memory.meet()
        norm = norm.new_tensor(self._memory.squared_norm.sum() ** 0.5)
        torch.nn.utils.clip_grads_with_norm_(owned, max_norm, norm)

    def end(self) -> None:
        """As `JointStep`."""
        self._memory.arrive()

    def settle(self) -> None:
        """As `JointStep`: what this worker does between two steps need not wait for the others."""
        self._memory.wait()

    def end_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """As `JointStep`."""
        self.settle()

    def gather(self, optimizer: torch.optim.Optimizer) -> None:
        """As `JointStep`."""
        mine = {index: optimizer.state[self.parameters[index]] for index in self._owned}
        everyones: list[Any] | None = [None] * (len(self._others) + 1) if self._rank == 0 else None
        distributed.gather_object(mine, everyones)
        for states in everyones or ():
            for index, state in states.items():
                optimizer.state[self.parameters[index]] = state


def _owners(parameters: list[nn.Parameter], workers: int) -> list[int]:
    """Which worker owns each parameter: the largest first, each to who has least so far."""
    owners, numbers = [0] * len(parameters), [0] * workers
    for index in sorted(range(len(parameters)), key=lambda each: -parameters[each].numel()):
        owners[index] = min(range(workers), key=lambda each: numbers[each])
        numbers[owners[index]] += parameters[index].numel()
    return owners

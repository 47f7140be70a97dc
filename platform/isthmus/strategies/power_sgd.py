"""Gradients of low rank between workers, and their state, with which training resumes exactly.

Source: Vogels et al. 2019, "PowerSGD", arXiv:1905.13727.
"""

# No `from __future__ import annotations`: DistributedDataParallel rejects string annotations.

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

# Rank of the matrices that are sent, and number of backward passes before the first of them.
_RANK, _BEGINS = 4, 100
# The parts of torch's state that change. Random numbers are drawn only when it begins.
_PARTS = ("iter", "error_dict", "p_memory_dict", "q_memory_dict")


class PowerSgd:
    """PowerSGD between the workers of a model.

    What a worker could not send stays with it, to be added to its next gradients.
    """

    def __init__(
        self,
        model: DistributedDataParallel,
        device: torch.device,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        """Registers the hook.

        Args:
            model: The model, which must keep the layout of its buckets from the first step on.
            device: The device of this worker.
            resumed: The state that `state` returned on this worker before, if any.
        """
        self._state = PowerSGDState(
            process_group=None, matrix_approximation_rank=_RANK, start_powerSGD_iter=_BEGINS
        )
        for name, part in (resumed or {}).items():
            of_buckets = isinstance(part, Mapping)
            moved = {index: each.to(device) for index, each in part.items()} if of_buckets else part
            setattr(self._state, name, moved)
        model.register_comm_hook(self._state, _in_turn if device.type == "cpu" else powerSGD_hook)

    def state(self) -> dict[str, Any]:
        """Returns the state of this worker, which no other has: a count, and tensors by bucket."""
        return {name: getattr(self._state, name) for name in _PARTS}


def _in_turn(state: PowerSGDState, bucket: GradBucket) -> Future[Tensor]:
    """Exchanges a bucket of gradients as `powerSGD_hook` does, before the next one begins.

    PowerSGD sends three messages for each bucket, the later ones from gloo's threads. Messages of
    two buckets could go out in different orders on two workers, which ends their processes.
    """
    exchanged: Future[Tensor] = powerSGD_hook(state, bucket)
    exchanged.wait()
    return exchanged

"""Collective operations that keep the state of all workers the same.

Lightning averages gradients over workers, but not the buffers that a variant updates itself (a
codebook, a centre, a threshold). With these functions every worker makes the same update.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def sum_over_workers(x: Tensor) -> Tensor:
    """Returns the sum of every worker's tensor, the same on all workers, without a gradient."""
    total = x.detach().clone()
    if _is_distributed():
        distributed.all_reduce(total)
    return total


def mean_over_workers(x: Tensor) -> Tensor:
    """Returns the mean of every worker's tensor, the same on all workers, without a gradient."""
    workers = distributed.get_world_size() if _is_distributed() else 1
    return sum_over_workers(x) / workers


def rows_of_all_workers(x: Tensor) -> Tensor:
    """Concatenates every worker's rows (B, ...) to (workers * B, ...), without a gradient.

    All workers must have the same number of rows, as they do in training.
    """
    mine = x.detach().contiguous()
    if not _is_distributed():
        return mine
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, mine)
    return torch.cat(parts)


def gather_objects(x: Any) -> list[Any]:
    """Returns the objects of all workers, in the order of their ranks, on every worker."""
    if not _is_distributed():
        return [x]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, x)
    return gathered


def from_first_worker(x: Tensor) -> Tensor:
    """Returns the first worker's tensor on all workers, for random draws that must be the same."""
    shared = x.detach().clone()
    if _is_distributed():
        distributed.broadcast(shared, src=0)
    return shared


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()

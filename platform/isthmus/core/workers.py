"""State that all workers share: what one learns from its share of the batch, all must learn.

Lightning averages gradients over workers; buffers that a variant updates itself (a codebook, a
centre, a threshold) it does not. With these, every worker makes the same update.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def sum_over_workers(x: Tensor) -> Tensor:
    """The sum of every worker's tensor, the same on all; carries no gradient."""
    total = x.detach().clone()
    if _is_distributed():
        distributed.all_reduce(total)
    return total


def mean_over_workers(x: Tensor) -> Tensor:
    """The mean of every worker's tensor, the same on all; carries no gradient."""
    workers = distributed.get_world_size() if _is_distributed() else 1
    return sum_over_workers(x) / workers


def rows_of_all_workers(x: Tensor) -> Tensor:
    """Every worker's rows (B, ...), one after another, as (workers * B, ...); no gradient.

    All workers must hold equally many rows, as they do in training.
    """
    mine = x.detach().contiguous()
    if not _is_distributed():
        return mine
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, mine)
    return torch.cat(parts)


def gather_objects(x: Any) -> list[Any]:
    """Returns every worker's object, in the order of their ranks, on all workers."""
    if not _is_distributed():
        return [x]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, x)
    return gathered


def from_first_worker(x: Tensor) -> Tensor:
    """The first worker's tensor, on all: for what is drawn at random and must be the same."""
    shared = x.detach().clone()
    if _is_distributed():
        distributed.broadcast(shared, src=0)
    return shared


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()

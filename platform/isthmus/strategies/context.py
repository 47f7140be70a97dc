"""The rank, world size and device of a worker process."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class WorkerContext:
    """The rank, world size and device of a worker.

    Attributes:
        rank: The worker's rank, from 0.
        workers: Number of workers that train together (the world size).
        local_rank: The worker's rank among the workers of its machine, from 0.
        workers_here: Number of workers on this machine, which share its cores and memory.
        device: The device that it trains on.
        is_in_ray: Whether Ray Train started it; else a launcher has set torchrun's variables.
    """

    rank: int
    workers: int
    local_rank: int
    workers_here: int
    device: torch.device
    is_in_ray: bool = False

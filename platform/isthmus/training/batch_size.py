"""`global_batch_size: auto`: as many rows in a step as help, and as memory holds."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, distributed

from isthmus.core import Autoencoder

_RANGE = (32, 4096)
# Fewer steps than these in an epoch learn less from it than they save in time.
_FEWEST_STEPS = 32
PROBE_ROWS = 8
# What a step holds besides what it saves for the backward pass: gradients and scratch of it.
_SCRATCH_FACTOR = 3.0
_SHARE_OF_FREE_MEMORY = 0.5


def choose_batch_size(
    module: Autoencoder, probe: Tensor, rows: int, *, workers: int, workers_here: int, parts: int
) -> int:
    """The largest power of two that leaves 32 steps in an epoch and fits the memory.

    Args:
        module: On the CPU; a copy of it makes a trial pass on the probe's device.
        probe: Shape (n, *row_shape): some training rows, on the device that trains.
        rows: How many there are to train on.
        workers: That share a step; all must call this, and get the same answer.
        workers_here: Of them on this machine, which share its memory if they have no GPU.
        parts: That a step is taken in.

    Returns:
        Rows of one step over all workers, between 32 and 4096, divisible by workers and parts.
    """
    free_bytes = _free_bytes(probe.device, workers_here) * _SHARE_OF_FREE_MEMORY
    fitting = int(free_bytes / _bytes_per_row(module, probe)) * workers * parts
    lowest, highest = _RANGE
    wanted = min(highest, max(lowest, rows // _FEWEST_STEPS), max(1, fitting))
    if workers > 1:
        # The worker with the least memory decides.
        shared = torch.tensor(wanted, device=probe.device)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MIN)
        wanted = int(shared.item())
    unit = workers * parts
    return max(unit, (1 << wanted.bit_length() - 1) // unit * unit)


def _bytes_per_row(module: Autoencoder, probe: Tensor) -> float:
    """What a row of a step takes: measured, for variants and nets differ a thousandfold."""
    saved_bytes = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved_bytes
        saved_bytes += tensor.numel() * tensor.element_size()
        return tensor

    # In eval mode a loss changes nothing that the module remembers.
    trial = deepcopy(module).to(probe.device).eval()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept):
        trial.loss(probe)
    row_bytes = probe[0].numel() * probe.element_size()
    return max(saved_bytes / len(probe) * _SCRATCH_FACTOR, row_bytes)


def _free_bytes(device: torch.device, workers_here: int) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    import psutil

    return float(psutil.virtual_memory().available) / workers_here

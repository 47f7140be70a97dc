"""Estimates of a step's memory and work, which give the batch size and the number of threads."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, distributed
from torch.utils.flop_counter import FlopCounterMode

from isthmus import resources
from isthmus.core import Autoencoder
from isthmus.core.workers import gather_objects
from isthmus.errors import TrainingError

_RANGE = (32, 4096)
# With fewer steps, an epoch loses more in learning than it saves in time.
_FEWEST_STEPS = 32
PROBE_ROWS = 8
# Memory of a step, with gradients and scratch, relative to what it saves for the backward pass.
_SCRATCH_FACTOR = 3.0
_SHARE_OF_FREE_MEMORY = 0.5
# A weight comes with its gradient and AdamW's two moments.
_COPIES_OF_A_WEIGHT = 4
# A step costs three forward passes; a thread with fewer operations waits longer than it works.
_PASSES, _OPERATIONS_OF_A_THREAD = 3, 1e8


class StepProbe:
    """A trial pass over a few rows, which measures what a step takes per row.

    Attributes:
        bytes_per_row: Memory of a step per row, in bytes.
        operations_per_row: Floating-point operations of a forward pass per row.
    """

    def __init__(self, module: Autoencoder, rows: Tensor) -> None:
        """Runs the trial pass.

        Args:
            module: The module; a copy of it runs the pass, on the device of the rows.
            rows: Some training rows, shape (n, *row_shape), or (n, 2, *row_shape).
        """
        saved_bytes = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved_bytes
            saved_bytes += tensor.numel() * tensor.element_size()
            return tensor

        # In eval mode, computing the loss changes none of the module's buffers.
        trial = deepcopy(module).to(rows.device).eval()
        saved = torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept)
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), saved:
            trial.loss(rows)
        flops = FlopCounterMode(display=False)
        with torch.no_grad(), flops:
            has_both = rows.ndim == len(trial.plan.row_shape) + 2
            trial.reconstruct(rows[:, 0] if has_both else rows)
        row_bytes = rows[0].numel() * rows.element_size()
        self.bytes_per_row = max(saved_bytes / len(rows) * _SCRATCH_FACTOR, row_bytes)
        self.operations_per_row = flops.get_total_flops() / len(rows)
        self._weights_bytes = _COPIES_OF_A_WEIGHT * sum(
            each.numel() * each.element_size() for each in module.parameters()
        )

    def choose_batch_size(
        self, rows: int, device: torch.device, *, workers: int, workers_here: int, parts: int
    ) -> int:
        """Returns the largest power of two that leaves 32 steps in an epoch and fits the memory.

        Args:
            rows: Number of training rows.
            device: The device that trains.
            workers: Number of workers that share a step; all must call this, and get the same
                result.
            workers_here: Number of workers on this machine, which share its memory if they have no
                GPU.
            parts: Number of batches that a step accumulates.

        Returns:
            Rows of one step over all workers, between 32 and 4096, divisible by workers and parts.
        """
        free_bytes = _free_bytes(device, workers_here) * _SHARE_OF_FREE_MEMORY
        fitting = int(free_bytes / self.bytes_per_row) * workers * parts
        lowest, highest = _RANGE
        wanted = min(highest, max(lowest, rows // _FEWEST_STEPS), max(1, fitting))
        if workers > 1:
            # The worker with the least memory decides.
            shared = torch.tensor(wanted, device=device)
            distributed.all_reduce(shared, op=distributed.ReduceOp.MIN)
            wanted = int(shared.item())
        unit = workers * parts
        return max(unit, (1 << wanted.bit_length() - 1) // unit * unit)

    def refuse_too_large(self, rows: int, device: torch.device, workers_here: int) -> None:
        """Raises an error if a step cannot fit into the memory, before the step is taken.

        All workers must call this, and all raise the error if the step does not fit on one.

        Args:
            rows: Number of rows in one forward pass of one worker.
            device: The device that trains.
            workers_here: Number of workers on this machine, which share its memory if they have no
                GPU.

        Raises:
            TrainingError: If the step cannot fit; the message says what it takes, what is free,
                and what to change.
        """
        # The scratch factor is a guess, so only steps that would not fit without it are refused.
        needed = self.bytes_per_row / _SCRATCH_FACTOR * rows + self._weights_bytes
        free = _free_bytes(device, workers_here)
        refusal = ""
        if needed > free:
            where = "the GPU has" if device.type == "cuda" else "a worker may use"
            refusal = (
                f"a step of {rows} rows needs at least {resources.in_units(needed)} and {where} "
                f"{resources.in_units(free)}; lower training.global_batch_size, raise "
                "training.accumulate_batches, or choose a smaller net"
            )
        for each in gather_objects(refusal):
            if each:
                raise TrainingError(each)

    def threads(self, rows: int, workers_here: int) -> int:
        """Returns how many of the available threads a step of `rows` rows keeps busy."""
        operations = _PASSES * self.operations_per_row * rows
        return max(
            1, min(resources.threads(workers_here), int(operations / _OPERATIONS_OF_A_THREAD))
        )


def _free_bytes(device: torch.device, workers_here: int) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return resources.free_memory_bytes() / workers_here

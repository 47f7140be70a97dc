"""What a step takes: how many rows fit the memory, and how many threads are worth their while."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, distributed
from torch.utils.flop_counter import FlopCounterMode

from isthmus import resources
from isthmus.core import Autoencoder
from isthmus.errors import TrainingError

_RANGE = (32, 4096)
# An epoch of fewer steps learns less than it saves in time.
_FEWEST_STEPS = 32
PROBE_ROWS = 8
# What a step holds besides what it saves for the backward pass: gradients and scratch of it.
_SCRATCH_FACTOR = 3.0
_SHARE_OF_FREE_MEMORY = 0.5
# A weight comes with its gradient and AdamW's two moments.
_COPIES_OF_A_WEIGHT = 4
# A step is three passes, and a thread that has less to do than this waits longer than it works.
_PASSES, _OPERATIONS_OF_A_THREAD = 3, 1e8
_GIB = 1 << 30


class StepProbe:
    """A trial pass of a few rows, which shows what one row of a step takes.

    Attributes:
        bytes_per_row: Memory.
        operations_per_row: Floating-point operations of a forward pass.
    """

    def __init__(self, module: Autoencoder, rows: Tensor) -> None:
        """Args:
        module: A copy of it makes the pass, on the device of the rows.
        rows: Shape (n, *row_shape): some training rows.
        """
        saved_bytes = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved_bytes
            saved_bytes += tensor.numel() * tensor.element_size()
            return tensor

        # In eval mode a loss changes nothing that the module remembers.
        trial = deepcopy(module).to(rows.device).eval()
        saved = torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept)
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), saved:
            trial.loss(rows)
        flops = FlopCounterMode(display=False)
        with torch.no_grad(), flops:
            trial.reconstruct(rows[:, 0] if trial.VIEWS == 2 else rows)
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
            rows: How many rows there are to train on.
            device: What trains.
            workers: Workers that share a step; all must call this, and get the same answer.
            workers_here: Workers of this machine, which share its memory if they have no GPU.
            parts: Parts that a step is taken in.

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
        """Refuses a step that cannot fit the memory, before it is taken.

        Args:
            rows: Rows of one forward pass of one worker.
            device: What trains.
            workers_here: Workers of this machine, which share its memory if they have no GPU.

        Raises:
            TrainingError: With what a step takes, what is free, and what to change.
        """
        # Scratch is a guess: what is refused would not fit without it either.
        needed = self.bytes_per_row / _SCRATCH_FACTOR * rows + self._weights_bytes
        free = _free_bytes(device, workers_here)
        if needed > free:
            where = "the GPU has" if device.type == "cuda" else "a worker may use"
            raise TrainingError(
                f"a step of {rows} rows needs at least {needed / _GIB:.1f} GiB and {where} "
                f"{free / _GIB:.1f} GiB; lower training.global_batch_size, raise "
                "training.accumulate_batches, or choose a smaller net"
            )

    def threads(self, rows: int, workers_here: int) -> int:
        """Returns how many threads a step of so many rows keeps busy, of those that it may use."""
        operations = _PASSES * self.operations_per_row * rows
        return max(
            1, min(resources.threads(workers_here), int(operations / _OPERATIONS_OF_A_THREAD))
        )


def _free_bytes(device: torch.device, workers_here: int) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return resources.free_memory_bytes() / workers_here

"""Training steps as CUDA graphs: most nets take longer to launch their kernels than to run them.

A step has some hundred kernels, and Python needs a few microseconds to launch each; a graph is
launched as a whole. It holds kernels, addresses and numbers, so whatever changes from step to step
must be in tensors that stay in place: each batch is copied over the captured one.

Source: Ng et al. 2021, "Accelerating PyTorch with CUDA Graphs".
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from isthmus.errors import TrainingError, first_line
from isthmus.modules import AutoencoderModule

_logger = logging.getLogger(__name__)
# Warm-up steps before a capture, in which libraries choose their kernels and allocate memory.
_STEPS_BEFORE = 3
# Largest share of the GPU's free memory that a captured step may take: a graph keeps its memory.
_SHARE_OF_FREE_MEMORY = 0.5

Step = Callable[[Tensor], object]


class CudaGraphStep:
    """Takes training steps on a GPU, and captures a step after a few batches of the same shape.

    Whatever changes from step to step is in tensors that stay in place: the learning rates, and the
    number of steps taken, `module.clock.graph_steps`.
    """

    def __init__(
        self, step: Step, module: AutoencoderModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Makes the optimizer's learning rates tensors, so that a graph can read them.

        Args:
            step: Takes a step on rows of shape (B, *row_shape). It must do the same each time,
                whatever the values in its tensors, and is captured only if it never waits for the
                GPU.
            module: The module to train.
            optimizer: The optimizer that the step uses.
        """
        self._step = step
        self._clock, self._device = module.clock, module.device
        self._seen: dict[torch.Size, int] = {}
        self._recordings: dict[torch.Size, _Recording] = {}
        self._is_recordable = True
        # Warm-up steps run on a stream of their own: what they leave behind must not tie a graph to
        # the stream that everything else runs on.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            rate = torch.as_tensor(group["lr"], device=module.device, dtype=torch.float32)
            group.update(capturable=True, lr=rate.clone())

    def begin(self, steps: int) -> None:
        """Sets the clock's number of steps taken so far, before a group of steps."""
        if self._clock.graph_steps is None:
            self._clock.graph_steps = torch.tensor(steps, device=self._device)
        else:
            self._clock.graph_steps.fill_(steps)

    def __call__(self, rows: Tensor) -> None:
        """Takes a step on rows of shape (B, *row_shape)."""
        recording = self._recordings.get(rows.shape)
        if recording is None and self._is_due(rows):
            recording = self._recordings[rows.shape] = self._record(rows)
        if recording is None:
            self._take(rows)
        else:
            recording.replay(rows)

    def _is_due(self, rows: Tensor) -> bool:
        if not self._is_recordable or self._seen.get(rows.shape, 0) < _STEPS_BEFORE:
            return False
        free_bytes, _ = torch.cuda.mem_get_info(rows.device)
        held_bytes = torch.cuda.memory_allocated(rows.device)
        step_bytes = torch.cuda.max_memory_allocated(rows.device) - held_bytes
        self._is_recordable = step_bytes < _SHARE_OF_FREE_MEMORY * free_bytes
        return self._is_recordable

    def _take(self, rows: Tensor) -> None:
        """Takes a step without a graph, and checks once whether it can be captured."""
        if not self._is_recordable:
            self._take_and_count(rows)
            return
        self._seen[rows.shape] = self._seen.get(rows.shape, 0) + 1
        others = torch.cuda.current_stream(rows.device)
        self._stream.wait_stream(others)
        with torch.cuda.stream(self._stream):
            if self._seen[rows.shape] == _STEPS_BEFORE:
                self._is_recordable = _waits_for_nothing(partial(self._take_and_count, rows))
            else:
                self._take_and_count(rows)
        others.wait_stream(self._stream)

    def _take_and_count(self, rows: Tensor) -> None:
        self._step(rows)
        assert self._clock.graph_steps is not None  # noqa: S101 (set in `begin`)
        self._clock.graph_steps += 1

    def _record(self, rows: Tensor) -> _Recording:
        recorded_rows, graph = rows.clone(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._take_and_count(recorded_rows)
        except RuntimeError as error:
            # There is no fallback: a failed capture leaves the random generator unusable.
            raise TrainingError(
                f"this step cannot be recorded: {first_line(error)}; set training.cuda_graphs: "
                "false"
            ) from error
        return _Recording(graph, recorded_rows)


def _waits_for_nothing(work: Callable[[], object]) -> bool:
    """Calls `work`; returns whether it never waited for the GPU, which would fail a capture."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    waits = [each for each in found if "called a synchronizing" in str(each.message)]
    for other in found:
        if other not in waits and "debug mode" not in str(other.message):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if waits:
        _logger.info("the step waits for the GPU, and is taken from Python each time")
    return not waits


@dataclass(frozen=True)
class _Recording:
    """A captured step, and the tensor that it reads its rows from."""

    graph: torch.cuda.CUDAGraph
    rows: Tensor

    def replay(self, rows: Tensor) -> None:
        self.rows.copy_(rows)
        self.graph.replay()

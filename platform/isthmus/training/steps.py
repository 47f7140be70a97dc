"""The optimizer's steps of one epoch: where training spends its time.

Lightning asks once an epoch (its manual optimisation), and not at each step: for small nets its
own loop takes longer than the step itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.core.lean_adamw import LeanAdamW
from isthmus.spec import TrainingSpec
from isthmus.training.averaging import AveragedWeights
from isthmus.training.batches import Batches
from isthmus.training.joint_step import GroupStep, JointStep
from isthmus.training.local_step import LocalStep
from isthmus.training.memory_step import MemoryStep
from isthmus.training.recorded_step import RecordedStep
from isthmus.training.shared_memory import suits_memory


class StopRequested(Exception):
    """Leaves Lightning's loop in the middle of an epoch; all workers raise it at the same step."""


class EpochSteps:
    """All steps of an epoch, as the one batch that Lightning sees; each epoch the same object."""

    def __init__(
        self,
        training: TrainingSpec,
        batches: Batches,
        averaged: AveragedWeights | None,
        after_step: Callable[[int], None],
        wants_to_leave: Callable[[], bool],
        workers_here: int = 1,
    ) -> None:
        """Args:
        training: The job's training options.
        batches: This worker's share of each step's rows.
        averaged: Follows the weights, if anything does.
        after_step: Told how many steps of the epoch are done.
        wants_to_leave: Asked at each step whether this worker is to leave the epoch; if one is,
            all do.
        workers_here: How many of the workers are on this machine.
        """
        self._training = training
        self._batches = batches
        self._averaged = averaged
        self._after_step = after_step
        self._wants_to_leave = wants_to_leave
        self._workers_here = workers_here
        self._joint: JointStep | None = None
        self._recorded: RecordedStep | None = None

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EpochSteps]:
        yield self

    def __call__(self, module: Autoencoder) -> None:
        """Takes the steps of the epoch that `batches` stands at.

        Args:
            module: In training, under a trainer.

        Raises:
            StopRequested: If a worker is to leave.
        """
        optimizer = _bare(module.optimizers())
        schedule: Any = module.lr_schedulers()
        joint = self._joint_step(module)
        recorded = self._recorded_step(module, optimizer, joint)
        self._begin_count(module)
        for step, rows in enumerate(self._batches, start=1):
            if recorded:
                recorded(rows)
                is_left = self._wants_to_leave()
            else:
                is_left = self._step(module, optimizer, joint, rows)
            if schedule is not None:
                schedule.step()
                self._tell_rates(optimizer)
            if self._averaged:
                joint.settle()
                self._averaged.follow(module)
            self._after_step(step)
            if is_left:
                raise StopRequested
        joint.end_epoch(optimizer)

    def gather(self, optimizer: torch.optim.Optimizer) -> None:
        """Before the first worker writes a checkpoint: it gets the optimizer's whole state."""
        if self._joint:
            self._joint.gather(optimizer)

    def _step(
        self, module: Autoencoder, optimizer: torch.optim.Optimizer, joint: JointStep, rows: Tensor
    ) -> bool:
        """One step of the optimizer; whether a worker is to leave the epoch after it."""
        joint.begin()
        self._add_gradients(module, rows, joint.summed)
        is_left = joint.share(self._wants_to_leave())
        if self._training.gradient_clip_norm is not None:
            joint.clip(self._training.gradient_clip_norm)
        self._update(module, optimizer)
        joint.end()
        module.progress.steps += 1
        return is_left

    def _begin_count(self, module: Autoencoder) -> None:
        """The module counts on from the epoch's first step; where it is recorded, in a tensor."""
        steps = self._batches.epoch * len(self._batches)
        progress = module.progress
        if self._recorded is None:
            progress.steps = steps
        elif isinstance(progress.steps, Tensor):
            progress.steps.fill_(steps)
        else:
            progress.steps = torch.tensor(steps, device=self._batches.device)

    def _tell_rates(self, optimizer: torch.optim.Optimizer) -> None:
        if self._recorded and isinstance(optimizer, LeanAdamW):
            optimizer.rates_to(self._batches.device)

    def _recorded_step(
        self, module: Autoencoder, optimizer: torch.optim.Optimizer, joint: JointStep
    ) -> RecordedStep | None:
        """The step of a worker that trains alone on a GPU, where it can be recorded."""
        if (
            self._recorded is None
            and self._batches.device.type == "cuda"
            and self._batches.workers == 1
            and self._training.record_steps
            and self._training.precision != "float16"  # which looks at its gradients
            and module.CUDA_GRAPH_SAFE
            and isinstance(optimizer, LeanAdamW)
            and optimizer.is_uniform
        ):
            self._recorded = RecordedStep(partial(self._step, module, optimizer, joint))
            self._tell_rates(optimizer)
        return self._recorded

    def _add_gradients(self, module: Autoencoder, rows: Tensor, workers: int) -> None:
        """This worker's share of the gradients of the mean loss of the rows of so many workers.

        They may be taken in parts.
        """
        at_once = self._batches.rows_at_once
        # To split what is one part would take a fortieth of a small net's step.
        for part in (rows,) if len(rows) <= at_once else torch.split(rows, at_once):
            share = len(part) / (len(rows) * workers)
            loss = module.step_loss(part)
            self._backward(module, loss if share == 1 else loss * share)

    def _backward(self, module: Autoencoder, loss: Tensor) -> None:
        if self._training.precision == "float32":
            loss.backward()  # type: ignore[no-untyped-call]
            return
        # Under mixed precision gradients take the types of the forward pass, and no others.
        with torch.autocast(loss.device.type, enabled=False):
            module.manual_backward(loss)

    def _update(self, module: Autoencoder, optimizer: torch.optim.Optimizer) -> None:
        if self._training.precision == "float16":
            wrapped: Any = module.optimizers()
            wrapped.step()  # Lightning's own, which undoes the scaling of the loss
        else:
            optimizer.step()

    def _joint_step(self, module: Autoencoder) -> JointStep:
        if self._joint is None:
            self._joint = self._make_joint_step(module)
        return self._joint

    def _make_joint_step(self, module: Autoencoder) -> JointStep:
        rank, workers, here = self._batches.rank, self._batches.workers, self._workers_here
        if workers == 1:
            return JointStep(module)
        if self._training.local_steps > 1:
            return LocalStep(module, rank, workers, here, self._training.local_steps)
        if suits_memory(module, workers, here):
            return MemoryStep(module, rank, workers)
        return GroupStep(module, workers)


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """Lightning's wrapper does at each step what is not needed here."""
    bare: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return bare

"""The fast path for a single process: Lightning sees a group of optimizer steps as one batch.

For a small net, Lightning's own loop takes longer than the step. Everything that users of Lightning
rely on happens between two groups: hooks, logged losses, checkpoints, Ctrl-C. A group takes a
fraction of a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from isthmus.loaders.batches import Batches
from isthmus.modules import AdversarialModule, AutoencoderModule, StepGroup
from isthmus.spec import TrainingSpec
from isthmus.training.averaging import AveragedWeights
from isthmus.training.cuda_graph_step import CudaGraphStep
from isthmus.training.loss_sums import LossSums, per_row

# How long a group should take; the first one is short, because no step has been timed yet.
_GROUP_S = 0.2
_MOST_GROWTH = 4


class GroupedBatches:
    """A data loader that yields groups of optimizer steps.

    Attributes:
        batches: The batches of the steps.
        sums: The summed losses of the epoch.
    """

    def __init__(
        self,
        batches: Batches,
        sums: LossSums,
        training: TrainingSpec,
        averaged: AveragedWeights | None,
    ) -> None:
        """Creates the loader.

        Args:
            batches: The batches of the steps.
            sums: The sums to which every step adds its losses.
            training: The job's training options.
            averaged: The averaged weights, which are updated after every step, if any.
        """
        self.batches = batches
        self.sums = sums
        self._training = training
        self._averaged = averaged
        if averaged is not None:
            averaged.follows_groups = True
        self._steps: Iterator[list[Tensor]] | None = None
        self._steps_at_once = 1
        self._recorded: CudaGraphStep | None = None

    @property
    def dataset(self) -> Any:
        """The training rows."""
        return self.batches.dataset

    @property
    def sampler(self) -> Batches:
        """The object on which Lightning sets the epoch."""
        return self.batches

    def state_dict(self) -> dict[str, int]:
        """Returns the position within the epoch."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next pass begin at a saved position within the epoch."""
        self.batches.load_state_dict(state)

    def __iter__(self) -> Iterator[StepGroup]:
        """Yields groups until all steps of the epoch are handed out.

        Lightning asks for a group before it has taken the previous one. So a group only holds its
        number of steps, and fetches its rows when it takes them.
        """
        self._steps = None
        left = self.batches.steps_per_epoch - self.batches.resumed_step
        while left > 0:
            count = min(left, self._steps_at_once)
            left -= count
            yield _Group(self, count)

    def take(self, module: AutoencoderModule, count: int) -> None:
        """Takes the next steps of the epoch, and logs their losses.

        Args:
            module: The module, which uses manual optimization and is within `training_step`.
            count: The number of steps.
        """
        if self._steps is None:
            self._steps = self.batches.steps()
        began_s, before = time.perf_counter(), self.sums.totals()
        schedulers: Any = module.lr_schedulers() or ()
        schedulers = schedulers if isinstance(schedulers, list | tuple) else [schedulers]
        take = self._step_taker(module)
        for rows in islice(self._steps, count):
            take(rows)
            if not isinstance(module, AdversarialModule):
                for scheduler in schedulers:
                    scheduler.step()
                _count_step(module.trainer)
            if self._averaged is not None:
                self._averaged.follow(module)
        if self.batches.device.type == "cuda":
            torch.cuda.synchronize(self.batches.device)
        self._keep_pace(count, time.perf_counter() - began_s)
        totals = {name: total - before.get(name, 0) for name, total in self.sums.totals().items()}
        rows_taken = totals["rows"]
        means: Any = per_row(totals)  # type: ignore[arg-type]
        module.log_losses("train", means, int(rows_taken))

    def _keep_pace(self, count: int, seconds: float) -> None:
        """Chooses how many steps the next group takes."""
        fitting = int(count * _GROUP_S / max(seconds, 1e-9))
        self._steps_at_once = max(1, min(fitting, _MOST_GROWTH * max(count, self._steps_at_once)))

    def _step_taker(self, module: AutoencoderModule) -> Any:
        """Returns a function that takes one step, given its batches."""
        if isinstance(module, AdversarialModule):
            return partial(self._take_adversarial_step, module)
        optimizer: Any = module.optimizers()
        step = partial(self._take_step, module, optimizer.optimizer)
        if not self._can_record(module):
            return step
        if self._recorded is None:
            self._recorded = CudaGraphStep(lambda rows: step([rows]), module, optimizer.optimizer)
        self._recorded.begin(module.global_step)
        return lambda batches: self._recorded and self._recorded(batches[0])

    def _take_step(
        self, module: AutoencoderModule, optimizer: torch.optim.Optimizer, batches: list[Tensor]
    ) -> None:
        optimizer.zero_grad()
        rows = sum(len(batch) for batch in batches)
        # Under mixed precision, the backward pass uses the types of the forward pass alone.
        is_mixed = self._training.precision != "float32"
        device = self.batches.device.type
        for batch in batches:
            output = module.autoencoder.loss(batch)
            self.sums.add(output.means(), len(batch))
            loss = output.total if len(batches) == 1 else output.total * (len(batch) / rows)
            with torch.autocast(device, enabled=False) if is_mixed else nullcontext():
                loss.backward()  # type: ignore[no-untyped-call]
        if self._training.gradient_clip_norm is not None:
            module.configure_gradient_clipping(optimizer)
        optimizer.step()

    def _take_adversarial_step(self, module: AdversarialModule, batches: list[Tensor]) -> None:
        (rows,) = batches
        self.sums.add(module.take_step(rows).means(), len(rows))

    def _can_record(self, module: AutoencoderModule) -> bool:
        return (
            self.batches.device.type == "cuda"
            and self._training.cuda_graphs
            and self.batches.parts == 1
            and module.autoencoder.CUDA_GRAPH_SAFE
        )


class _Group(StepGroup):
    """A group of optimizer steps."""

    def __init__(self, loader: GroupedBatches, count: int) -> None:
        self._loader = loader
        self._count = count

    def take(self, module: AutoencoderModule) -> None:
        self._loader.take(module, self._count)


def _count_step(trainer: Trainer) -> None:
    """Counts an optimizer step in `trainer.global_step`, as Lightning's optimizer wrapper does.

    The wrapper also calls hooks, which take longer than the step of a small net.
    """
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()

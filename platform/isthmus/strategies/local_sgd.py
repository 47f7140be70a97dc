"""Workers that step alone and average their weights now and then, and with which states.

Source: Lin et al. 2018, "Don't use large mini-batches, use local SGD", arXiv:1808.07217.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import (
    PostLocalSGDState,
    post_localSGD_hook,
)
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.algorithms.model_averaging.utils import average_parameters
from torch.nn.parallel import DistributedDataParallel

from isthmus.strategies.context import WorkerContext

# Steps between two averagings of the workers' weights, and steps before the first of them.
_PERIOD, _BEGINS = 8, 100


class LocalSgd:
    """Local SGD between machines, or between workers if all are on one machine."""

    def __init__(
        self,
        model: DistributedDataParallel,
        context: WorkerContext,
        trainer: Trainer,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        """Registers the hook, and loads this worker's weights if training resumes.

        Args:
            model: The model.
            context: The rank and device of this worker.
            trainer: The Trainer, with the first worker's checkpoint if training resumes.
            resumed: The state that `state` returned on this worker before, if any.
        """
        together = context.workers_here if context.workers_here < context.workers else 1
        if context.workers % together:
            together = 1
        own, _ = distributed.new_subgroups(group_size=together)  # type: ignore[no-untyped-call]
        self._state = PostLocalSGDState(  # type: ignore[no-untyped-call]
            process_group=None, subgroup=own, start_localSGD_iter=_BEGINS
        )
        model.register_comm_hook(self._state, post_localSGD_hook)
        self._averager = PeriodicModelAverager(period=_PERIOD, warmup_steps=_BEGINS)
        self._averaged_step = trainer.global_step
        # An adversarial variant's global step counts the steps of both its optimizers.
        self._averager.step = resumed["steps"] if resumed else trainer.global_step
        self._state.iter = self._averager.step
        if resumed:
            _load(trainer, resumed)

    def after_batch(self, trainer: Trainer) -> None:
        """Averages the weights of all workers if their steps since the last time are enough."""
        if trainer.global_step != self._averaged_step:
            self._averaged_step = trainer.global_step
            self._averager.average_parameters(trainer.lightning_module.parameters())
            # The hook counts backward passes, of which a step may have several.
            self._state.iter = self._averager.step

    def average(self, module: LightningModule) -> None:
        """Averages the weights of all workers now."""
        group = distributed.group.WORLD
        assert group is not None  # noqa: S101 (DistributedDataParallel has one)
        average_parameters(module.parameters(), group)

    def state(self, trainer: Trainer) -> dict[str, Any]:
        """Returns what this worker has, and not the first: its weights, moments and counts."""
        return {
            "steps": self._averager.step,
            "weights": trainer.lightning_module.state_dict(),
            "optimizers": [each.state_dict() for each in trainer.optimizers],
            "precision": trainer.precision_plugin.state_dict(),
        }


def _load(trainer: Trainer, state: Mapping[str, Any]) -> None:
    trainer.lightning_module.load_state_dict(state["weights"])
    for optimizer, own in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(own)
    trainer.precision_plugin.load_state_dict(state["precision"])

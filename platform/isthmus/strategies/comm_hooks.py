"""The communication hooks that exchange gradients between workers, by their job-file names."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks import (
    default_hooks,
    post_localSGD_hook,
    powerSGD_hook,
)
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.algorithms.model_averaging.utils import average_parameters
from torch.nn.parallel import DistributedDataParallel

from isthmus.errors import TrainingError
from isthmus.spec import TrainingSpec
from isthmus.strategies.context import WorkerContext
from isthmus.strategies.shared_memory_hook import (
    SharedGradients,
    shared_memory_hook,
    suits_shared_memory,
)

# Rank of the matrices that PowerSGD sends, and number of steps before it begins.
_POWER_SGD_RANK, _POWER_SGD_BEGINS = 4, 100
# Steps between two averagings of the workers' weights, and steps before local SGD begins.
_LOCAL_STEPS, _LOCAL_SGD_BEGINS = 8, 100

INEXACT_HOOKS = ("powersgd", "post_local_sgd")
"""The hooks with a state of each worker that no checkpoint has. At the end of an epoch the workers'
weights agree, so checkpoints are saved there."""


class CommHook(Callback):
    """A callback that registers the job's communication hook with DistributedDataParallel.

    Lightning's strategy accepts a hook too, but registers it on GPUs only.

    Source: Vogels et al. 2019, "PowerSGD", arXiv:1905.13727; Lin et al. 2018, "Don't use large
    mini-batches, use local SGD", arXiv:1808.07217.
    """

    def __init__(self, training: TrainingSpec, context: WorkerContext) -> None:
        """Creates the callback.

        Args:
            training: The job's training options.
            context: The rank and device of this worker.

        Raises:
            TrainingError: If the hook does not work on this device.
        """
        self._name = training.comm_hook
        self._context = context
        self._averager: PeriodicModelAverager | None = None
        self._averaged_step = 0
        if self._name == "bf16" and context.device.type == "cpu":
            raise TrainingError(
                "training.comm_hook=bf16 needs GPUs, whose exchange knows such numbers; leave "
                "training.comm_hook out, or use powersgd"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Registers the hook before the first step."""
        model = trainer.strategy.model
        if not isinstance(model, DistributedDataParallel):
            return
        if self._name == "auto" and suits_shared_memory(self._context):
            model.register_comm_hook(SharedGradients(pl_module, self._context), shared_memory_hook)
        elif self._name == "bf16":
            model.register_comm_hook(None, default_hooks.bf16_compress_hook)
        elif self._name == "powersgd":
            model.register_comm_hook(
                powerSGD_hook.PowerSGDState(
                    process_group=None,
                    matrix_approximation_rank=_POWER_SGD_RANK,
                    start_powerSGD_iter=_POWER_SGD_BEGINS,
                ),
                powerSGD_hook.powerSGD_hook,
            )
        elif self._name == "post_local_sgd":
            self._step_alone(model, trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Averages the workers' weights every few steps, under local SGD."""
        if self._averager is not None and trainer.global_step != self._averaged_step:
            self._averaged_step = trainer.global_step
            self._averager.average_parameters(pl_module.parameters())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Averages the workers' weights before they are validated or saved, under local SGD."""
        if self._averager is not None:
            group = distributed.group.WORLD
            assert group is not None  # noqa: S101 (DistributedDataParallel has one)
            average_parameters(pl_module.parameters(), group)

    def _step_alone(self, model: DistributedDataParallel, steps: int) -> None:
        """Sets up local SGD, between machines, or between workers if all are on one machine."""
        context = self._context
        together = context.workers_here if context.workers_here < context.workers else 1
        if context.workers % together:
            together = 1
        own, _ = distributed.new_subgroups(group_size=together)  # type: ignore[no-untyped-call]
        state = post_localSGD_hook.PostLocalSGDState(  # type: ignore[no-untyped-call]
            process_group=None, subgroup=own, start_localSGD_iter=_LOCAL_SGD_BEGINS
        )
        state.iter = steps
        model.register_comm_hook(state, post_localSGD_hook.post_localSGD_hook)
        self._averager = PeriodicModelAverager(period=_LOCAL_STEPS, warmup_steps=_LOCAL_SGD_BEGINS)
        self._averager.step = steps

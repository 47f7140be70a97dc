"""The communication hooks that exchange gradients between workers, by their job-file names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from isthmus.errors import TrainingError
from isthmus.spec import TrainingSpec
from isthmus.strategies.context import WorkerContext
from isthmus.strategies.local_sgd import LocalSgd
from isthmus.strategies.power_sgd import PowerSgd
from isthmus.strategies.shared_memory_hook import (
    SharedGradients,
    shared_memory_hook,
    suits_shared_memory,
)


class CommHook(Callback):
    """A callback that registers the job's communication hook with DistributedDataParallel.

    Lightning's strategy accepts a hook too, but registers it on GPUs only.
    """

    def __init__(
        self,
        training: TrainingSpec,
        context: WorkerContext,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        """Creates the callback.

        Args:
            training: The job's training options.
            context: The rank and device of this worker.
            resumed: The state that `worker_state` returned on this worker before, if any.

        Raises:
            TrainingError: If the hook does not work on this device.
        """
        self._name = training.comm_hook
        self._context = context
        self._resumed = resumed
        self._power_sgd: PowerSgd | None = None
        self._local_sgd: LocalSgd | None = None
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
        context, resumed, self._resumed = self._context, self._resumed, None
        if self._name == "auto" and suits_shared_memory(context):
            model.register_comm_hook(SharedGradients(pl_module, context), shared_memory_hook)
        elif self._name == "bf16":
            model.register_comm_hook(None, default_hooks.bf16_compress_hook)
        elif self._name == "powersgd":
            self._power_sgd = PowerSgd(model, context.device, resumed)
        elif self._name == "post_local_sgd":
            self._local_sgd = LocalSgd(model, context, trainer, resumed)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Averages the workers' weights every few steps, under local SGD."""
        if self._local_sgd:
            self._local_sgd.after_batch(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Averages the workers' weights before they are validated, under local SGD."""
        if self._local_sgd:
            self._local_sgd.average(pl_module)

    def worker_state(self, trainer: Trainer) -> dict[str, Any] | None:
        """Returns the state that only this worker has and a checkpoint needs; `None` if none."""
        if self._power_sgd:
            return self._power_sgd.state()
        return self._local_sgd.state(trainer) if self._local_sgd else None

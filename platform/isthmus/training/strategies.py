"""How several workers train together: Lightning's strategies, on Ray Train or without it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy, Strategy
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, post_localSGD_hook
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as power_sgd
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy
from torch.nn.parallel import DistributedDataParallel

from isthmus.spec import TrainingSpec

# Rank of the factors that powerSGD sends, and the steps before it begins.
_POWER_SGD_RANK, _POWER_SGD_BEGINS = 4, 100
# Steps between two averages of the workers' weights, and the steps before workers step alone.
_LOCAL_STEPS, _LOCAL_SGD_BEGINS = 8, 100
# Submodules of at least so many weights are sharded on their own.
_SHARDED_WEIGHTS = 1_000_000


@dataclass(frozen=True)
class WorkerContext:
    """Where a worker finds itself.

    Attributes:
        rank: Which of the workers it is, from 0.
        workers: How many train together.
        local_rank: Which of the workers of this machine it is, from 0.
        workers_here: How many workers share this machine's cores and memory.
        device: What it trains on.
        is_in_ray: Whether Ray Train started it; else a launcher has set torchrun's variables.
    """

    rank: int
    workers: int
    local_rank: int
    workers_here: int
    device: torch.device
    is_in_ray: bool = False


def trainer_arguments(training: TrainingSpec, context: WorkerContext) -> dict[str, Any]:
    """Returns the Trainer's `strategy`, `plugins`, `devices` and `num_nodes`."""
    strategy = _strategy(training, context)
    if isinstance(strategy, SingleDeviceStrategy):
        return {"strategy": strategy, "devices": 1}
    if context.is_in_ray:
        from ray.train.lightning import RayLightningEnvironment

        return {"strategy": strategy, "plugins": [RayLightningEnvironment()], "devices": "auto"}
    return {
        "strategy": strategy,
        "plugins": [TorchElasticEnvironment()],
        "devices": context.workers_here,
        "num_nodes": context.workers // context.workers_here,
    }


def trains_alone(training: TrainingSpec) -> bool:
    """Returns whether a job has one worker, which exchanges nothing."""
    return training.workers == 1 and training.strategy == "auto"


def _strategy(training: TrainingSpec, context: WorkerContext) -> Strategy:
    if trains_alone(training):
        return SingleDeviceStrategy(device=context.device)
    if training.strategy == "fsdp":
        arguments: dict[str, Any] = {
            "auto_wrap_policy": partial(
                size_based_auto_wrap_policy, min_num_params=_SHARDED_WEIGHTS
            ),
            "state_dict_type": "sharded",
        }
        if context.is_in_ray:
            from ray.train.lightning import RayFSDPStrategy

            return RayFSDPStrategy(**arguments)
        return FSDPStrategy(**arguments)
    # Variants sum what they learn in buffers over all workers themselves.
    arguments = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
    hook = _comm_hook(training)
    if hook is not None:
        arguments |= {"ddp_comm_state": hook.state, "ddp_comm_hook": hook.function}
    if training.comm_hook == "post_local_sgd":
        arguments["model_averaging_period"] = _LOCAL_STEPS
    if context.is_in_ray:
        from ray.train.lightning import RayDDPStrategy

        return RayDDPStrategy(**arguments)
    return DDPStrategy(**arguments)


@dataclass(frozen=True)
class _CommHook:
    """A communication hook of DistributedDataParallel, and its state."""

    state: Any
    function: Any


def _comm_hook(training: TrainingSpec) -> _CommHook | None:
    """Returns torch's own hook of that name.

    Source: Vogels et al. 2019, "PowerSGD", arXiv:1905.13727; Lin et al. 2018, "Don't use large
    mini-batches, use local SGD", arXiv:1808.07217.
    """
    match training.comm_hook:
        case "bf16":
            return _CommHook(None, default_hooks.bf16_compress_hook)
        case "powersgd":
            state = power_sgd.PowerSGDState(
                process_group=None,
                matrix_approximation_rank=_POWER_SGD_RANK,
                start_powerSGD_iter=_POWER_SGD_BEGINS,
            )
            return _CommHook(state, power_sgd.powerSGD_hook)
        case "post_local_sgd":
            local = post_localSGD_hook.PostLocalSGDState(
                process_group=None, subgroup=None, start_localSGD_iter=_LOCAL_SGD_BEGINS
            )
            return _CommHook(local, post_localSGD_hook.post_localSGD_hook)
    return None


class CpuCommHook(Callback):
    """Registers the communication hook on CPUs: Lightning's strategy does so on GPUs only."""

    def __init__(self, training: TrainingSpec) -> None:
        self._training = training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Registers the hook before the first step."""
        model, hook = trainer.strategy.model, _comm_hook(self._training)
        if hook and isinstance(model, DistributedDataParallel) and pl_module.device.type == "cpu":
            model.register_comm_hook(hook.state, hook.function)

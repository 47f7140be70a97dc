"""Lightning's strategies for training with several workers, with or without Ray Train."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy, Strategy
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

from isthmus.core import Autoencoder
from isthmus.errors import TrainingError
from isthmus.spec import TrainingSpec
from isthmus.strategies.context import WorkerContext

# FSDP shards submodules with at least this many weights separately.
_SHARDED_WEIGHTS = 1_000_000


def trainer_arguments(training: TrainingSpec, context: WorkerContext) -> dict[str, Any]:
    """Returns the Trainer's arguments `strategy`, `plugins`, `devices` and `num_nodes`."""
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
    """Returns whether a job has a single worker, which exchanges no gradients."""
    return training.workers == 1 and training.strategy == "auto"


def wrap_policy(least_weights: int) -> Callable[..., bool]:
    """Returns FSDP's policy that shards submodules with at least so many weights separately.

    An autoencoder is never one of them. FSDP gathers the weights of a submodule when its `forward`
    is called, and training calls `loss`.
    """
    kept_whole = {*size_based_auto_wrap_policy.EXCLUDE_WRAP_MODULES, Autoencoder}  # type: ignore[attr-defined]
    return partial(
        size_based_auto_wrap_policy,
        min_num_params=least_weights,
        exclude_wrap_modules=kept_whole,
    )


def _strategy(training: TrainingSpec, context: WorkerContext) -> Strategy:
    if trains_alone(training):
        return SingleDeviceStrategy(device=context.device)
    if training.strategy == "fsdp":
        if context.device.type == "cpu":
            raise TrainingError(
                "training.strategy=fsdp needs GPUs, and this worker trains on a CPU; set "
                "training.strategy: ddp"
            )
        arguments: dict[str, Any] = {
            "auto_wrap_policy": wrap_policy(_SHARDED_WEIGHTS),
            "state_dict_type": "sharded",
        }
        if context.is_in_ray:
            from ray.train.lightning import RayFSDPStrategy

            return cast("Strategy", RayFSDPStrategy(**arguments))
        return FSDPStrategy(**arguments)
    # Buffers need no broadcast: variants reduce theirs over all workers themselves.
    arguments = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
    # DistributedDataParallel would else order its buckets anew after the first step, also of a
    # resumed run, and PowerSGD's state of a checkpoint refers to the buckets.
    arguments["find_unused_parameters"] = training.comm_hook == "powersgd"
    if context.is_in_ray:
        from ray.train.lightning import RayDDPStrategy

        return cast("Strategy", RayDDPStrategy(**arguments))
    return DDPStrategy(**arguments)

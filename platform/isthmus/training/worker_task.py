"""The training task that every worker receives; a driver makes one without importing Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from isthmus.spec import ModelPlan, TrainingSpec

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass(frozen=True)
class WorkerTask:
    """The training task that every worker receives.

    Attributes:
        plan: The autoencoder to build.
        training: The job's training options.
        measures_error: Whether validation also logs `mse`, by which any two jobs can be compared.
        callbacks: Further Lightning callbacks.
        weights: The weights of both halves that training starts with; `None` if it draws them. What
            a checkpoint holds takes their place.
    """

    plan: ModelPlan
    training: TrainingSpec
    measures_error: bool = False
    callbacks: tuple[Callback, ...] = ()
    weights: Mapping[str, Tensor] | None = None

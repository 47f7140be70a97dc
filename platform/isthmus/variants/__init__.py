"""The variants of autoencoders; each file is one, and its stem is the name in the job file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from isthmus import plugins
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, SpecModel


def names() -> tuple[str, ...]:
    """Returns the names of all variants, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Autoencoder]:
    """Returns the variant of that name."""
    return cast("type[Autoencoder]", plugins.load(__name__, name, Autoencoder))


def config(name: str) -> type[SpecModel]:
    """Returns the class of a variant's options."""
    return get(name).Config


def build(plan: ModelPlan, **training: Any) -> Autoencoder:
    """Builds the autoencoder of a plan, and draws its weights from torch's global generator.

    Args:
        plan: The plan of the model.
        **training: The training options, which are arguments of `Autoencoder`.
    """
    return get(plan.variant.name)(plan, **training)


def restore(plan: ModelPlan, state: Mapping[str, Tensor]) -> Autoencoder:
    """Builds the autoencoder of a plan with the weights of both registered halves.

    The module may use the given tensors without copying them. Drawing initial weights takes longer
    than reading the stored ones, so none are drawn if the halves hold everything of a variant.

    Raises:
        RuntimeError: If weights are missing, unexpected or of another shape.
    """
    if not get(plan.variant.name).TRAINING_PARTS:
        try:
            with torch.device("meta"):
                module = build(plan)
        except (NotImplementedError, RuntimeError):
            pass  # its constructor computes with its weights
        else:
            module.load_halves(state, assign=True)
            if not any(each.is_meta for each in (*module.parameters(), *module.buffers())):
                return module  # otherwise it has computed tensors that are in neither half
    module = build(plan)
    module.load_halves(state)
    return module

"""How an autoencoder learns. One file is one variant; its stem is the name in the job file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from isthmus import plugins
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, SpecModel


def names() -> tuple[str, ...]:
    """All variants, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Autoencoder]:
    """The variant of that name."""
    return cast("type[Autoencoder]", plugins.load(__name__, name, Autoencoder))


def config(name: str) -> type[SpecModel]:
    """The options that a variant takes."""
    return get(name).Config


def build(plan: ModelPlan, **training: Any) -> Autoencoder:
    """Returns the autoencoder of a plan, its weights drawn from torch's global generator.

    Args:
        plan: What to build.
        **training: Options of its training, as the constructor of `Autoencoder` has them.
    """
    return get(plan.variant.name)(plan, **training)


def restore(plan: ModelPlan, state: Mapping[str, Tensor]) -> Autoencoder:
    """The autoencoder of a plan with the weights of both registered halves, which it keeps.

    Drawing weights that are thrown away takes longer than reading the ones that are wanted, so
    they are not drawn, where all of a variant is in its halves.

    Raises:
        RuntimeError: If weights are missing, left over, or of another shape.
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
                return module  # else it computes something that is in no half
    module = build(plan)
    module.load_halves(state)
    return module

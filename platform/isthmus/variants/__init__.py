"""The variants of autoencoders; each file is one, and its stem is the name in the job file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from isthmus import plugins
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, SpecModel


def names() -> tuple[str, ...]:
    """Returns the names of all variants, sorted."""
    return plugins.names("variants")


def get(name: str) -> type[Autoencoder]:
    """Returns the variant of that name."""
    return cast("type[Autoencoder]", plugins.get("variants", name, Autoencoder))


def config(name: str) -> type[SpecModel]:
    """Returns the class of a variant's options."""
    return get(name).Config


def build(plan: ModelPlan) -> Autoencoder:
    """Builds the autoencoder of a plan, and draws its weights from torch's global generator."""
    return get(plan.variant.name)(plan)


def restore(plan: ModelPlan, state: Mapping[str, Tensor]) -> Autoencoder:
    """Builds the autoencoder of a plan with the weights of both registered halves.

    The module may use the given tensors without copying them. Drawing initial weights takes longer
    than reading the stored ones, so none are drawn if the halves hold everything of a variant.

    Raises:
        RuntimeError: If weights are missing, unexpected or of another shape.
    """
    module = check_fit(plan, state)
    if module is not None and not module.TRAINING_PARTS:
        module.load_halves(state, assign=True)
        if not any(each.is_meta for each in (*module.parameters(), *module.buffers())):
            return module  # otherwise it has computed tensors that are in neither half
    module = build(plan)
    module.load_halves(state)
    return module


def check_fit(plan: ModelPlan, state: Mapping[str, Tensor]) -> Autoencoder | None:
    """Checks that weights have the shapes and types of a plan's, before memory is taken for it.

    Returns:
        The module without memory for its weights, on torch's device `meta`; `None` if its
        constructor computes with its weights, and nothing was checked.

    Raises:
        RuntimeError: If a tensor does not fit.
    """
    try:
        with torch.device("meta"):
            module = build(plan)
    except (NotImplementedError, RuntimeError):
        return None
    expected = module.state_dict()
    for name, tensor in state.items():
        wanted = expected.get(name, tensor)
        if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            raise RuntimeError(
                f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, and the plan asks for "
                f"{wanted.dtype} of {tuple(wanted.shape)}"
            )
    return module

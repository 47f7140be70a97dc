"""Small autoencoders for the tests of variants."""

from __future__ import annotations

from typing import Any

import torch

from isthmus import nets, variants
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, PluginSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape
from tests.by_hand import Optimizers


def plan_of(
    variant: str,
    row_shape: Shape,
    kind: DataKind = DataKind.TABULAR,
    latent_dim: int = 3,
    net: str = "dense",
    net_options: dict[str, Any] | None = None,
    **options: object,
) -> ModelPlan:
    return ModelPlan(
        kind=kind,
        row_shape=row_shape,
        latent_dim=latent_dim,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)(**options).model_dump(mode="json")
        ),
        net=PluginSpec(
            name=net, options=nets.config(net)(**net_options or {}).model_dump(mode="json")
        ),
        reconstruction=ReconstructionLoss.MSE,
    )


def build(*arguments: Any, seed: int = 0, **options: Any) -> Autoencoder:
    torch.manual_seed(seed)
    return variants.build(plan_of(*arguments, **options))


def trained(module: Autoencoder, rows: torch.Tensor, steps: int, batch: int = 64) -> Autoencoder:
    optimizer = Optimizers(module)
    for _ in range(steps):
        optimizer.zero_grad()
        module.loss(rows[torch.randint(len(rows), (batch,))]).total.backward()
        optimizer.step()
    return module.eval()

"""What a variant learns from batches outside its gradients is the same on all workers."""

from __future__ import annotations

import pytest
import torch

from isthmus import variants
from isthmus.spec import ModelPlan, PluginSpec
from tests.together import run_together

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

WITH_STATE = ["vqvae", "residual_vq", "topk", "batchtopk", "dagmm", "deep_svdd", "vamp"]
STEPS = 3


def state_of(rank: int, workers: int, variant: str) -> list[dict[str, torch.Tensor]]:
    """After a few batches. What gradients move, training keeps equal; here they are left out."""
    torch.manual_seed(0)
    plan = ModelPlan(
        kind="tabular",
        row_shape=(6,),
        latent_dim=4,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)().model_dump(mode="json")
        ),
        net=PluginSpec(name="dense", options={"hidden": [8]}),
        reconstruction="mse",
    )
    module = variants.build(plan)
    torch.manual_seed(100 + rank)  # each worker draws its own noise and sees its own rows
    for _ in range(STEPS):
        module.loss(torch.randn(16, 6) + rank)
    return [dict(module.named_buffers()), dict(module.named_parameters())]


@pytest.mark.parametrize("variant", WITH_STATE)
def test_two_workers_with_different_rows_keep_the_same_state(variant: str) -> None:
    first, second = run_together(2, state_of, variant)
    assert any(value.abs().sum() > 0 for value in first[0].values())
    for of_first, of_second in zip(first, second, strict=True):
        torch.testing.assert_close(of_first, of_second, equal_nan=True)

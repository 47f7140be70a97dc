"""What a variant learns from batches outside its gradients is the same on all workers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from isthmus import variants
from isthmus.spec import ModelPlan, PluginSpec, TrainingSpec

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

WITH_STATE = ["vqvae", "residual_vq", "topk", "batchtopk", "dagmm", "deep_svdd", "vamp"]
WORKERS = 2
STEPS = 3


def train_a_little(rank: int, variant: str, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=WORKERS)
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
    module.configure_training(TrainingSpec(global_batch_size=32), 32)
    torch.manual_seed(100 + rank)  # each worker draws its own noise and sees its own rows
    for _ in range(STEPS):
        module.loss(torch.randn(16, 6) + rank)
    # What gradients move, Lightning keeps equal; here they are left out.
    torch.save(dict(module.named_buffers()), Path(folder) / f"{rank}.pt")
    torch.save(dict(module.named_parameters()), Path(folder) / f"parameters-{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("variant", WITH_STATE)
def test_two_workers_with_different_rows_keep_the_same_state(tmp_path: Path, variant: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(train_a_little, (variant, port, str(tmp_path)), nprocs=WORKERS)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(WORKERS))
    assert first.keys() == second.keys()
    assert any(value.abs().sum() > 0 for value in first.values())
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], msg=name, equal_nan=True)
    ours, theirs = (torch.load(tmp_path / f"parameters-{rank}.pt") for rank in range(WORKERS))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], msg=name)

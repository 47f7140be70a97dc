"""A step that several workers take together is the step that one takes on all their rows."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from isthmus.training import memory_step
from isthmus.training.joint_step import GroupStep, JointStep
from isthmus.training.local_step import LocalStep
from isthmus.training.memory_step import MemoryStep
from tests.together import run_together

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

STEPS = 200
ROWS = 12


class Net(nn.Module):
    """With more parameters than workers, of unequal sizes, and one that no loss knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(7, 33), nn.Linear(33, 7)
        self.unknown = nn.Parameter(torch.ones(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).tanh())


def trained(
    joint_step: Any, rank: int, workers: int, clip: float | None, seed: int = 0, parts: int = 1
) -> tuple[Net, torch.optim.Optimizer, JointStep]:
    """After many steps, each on this worker's share of the same rows."""
    torch.manual_seed(seed)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    joint = joint_step(net)
    draw = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        if workers > 1 and step % (7 + rank) == 0:
            time.sleep(0.003)  # workers are not equally fast, and not always the same one first
        rows = torch.randn(ROWS, 7, generator=draw)[rank::workers]
        joint.begin()
        for part in rows.chunk(parts):
            loss = (net(part) - part).square().sum() / rows.numel()
            (loss / joint.summed).backward()
        is_left = joint.share(is_leaving=rank == workers - 1 and step == STEPS - 2)
        assert is_left == (step == STEPS - 2)
        if clip is not None:
            joint.clip(clip)
        optimizer.step()
        joint.end()
    joint.settle()
    return net, optimizer, joint


def work(
    rank: int, workers: int, kind: str, clip: float | None, parts: int
) -> dict[str, dict[str, Any]]:
    if kind == "memory, early":
        memory_step._WORTH_A_HOOK = 1
    step = (
        partial(GroupStep, workers=workers)
        if kind == "group"
        else partial(MemoryStep, rank=rank, workers=workers)
    )
    # The first worker's weights are everyone's, whatever the others drew.
    net, optimizer, joint = trained(step, rank, workers, clip, seed=rank, parts=parts)
    joint.gather(optimizer)
    return {"net": net.state_dict(), "optimizer": optimizer.state_dict()}


@pytest.mark.parametrize(("clip", "parts"), [(None, 1), (0.05, 2)])
@pytest.mark.parametrize(
    ("kind", "workers"), [("memory", 2), ("memory", 3), ("memory, early", 2), ("group", 2)]
)
def test_workers_train_as_one_does_and_the_first_has_the_whole_optimizer(
    kind: str, workers: int, clip: float | None, parts: int
) -> None:
    before = set(Path("/dev/shm").glob("isthmus-*"))
    first, *others = run_together(workers, work, kind, clip, parts)
    net, optimizer, _ = trained(JointStep, 0, 1, clip)
    for name, alone in net.state_dict().items():
        torch.testing.assert_close(first["net"][name], alone, atol=1e-5, rtol=1e-4)
        assert all(torch.equal(first["net"][name], other["net"][name]) for other in others)
    expected = optimizer.state_dict()["state"]
    for index, state in expected.items():
        found = first["optimizer"]["state"][index]
        assert found["step"] == state["step"]
        torch.testing.assert_close(found["exp_avg"], state["exp_avg"], atol=1e-5, rtol=1e-3)
    assert set(Path("/dev/shm").glob("isthmus-*")) <= before


def test_each_worker_keeps_the_optimizers_state_of_its_own_parameters_alone() -> None:
    kept = run_together(2, own_state)
    assert kept[0] | kept[1] == set(range(5))
    assert not kept[0] & kept[1]


def own_state(rank: int, workers: int) -> set[int]:
    _, optimizer, _ = trained(partial(MemoryStep, rank=rank, workers=workers), rank, workers, None)
    return set(optimizer.state_dict()["state"])


@pytest.mark.parametrize(("workers", "here"), [(2, 2), (3, 3), (2, 1)])
def test_weights_that_are_averaged_after_each_step_are_those_of_averaged_gradients(
    workers: int, here: int
) -> None:
    # Of plain descent, whose steps are proportional to the gradients.
    first, *others = run_together(workers, average, 1, here, "sgd")
    alone = descended(JointStep, 0, 1, "sgd", epochs=2)[0].state_dict()
    for name, weights in alone.items():
        torch.testing.assert_close(first["net"][name], weights, atol=1e-5, rtol=1e-4)
        assert all(torch.equal(first["net"][name], other["net"][name]) for other in others)


def test_workers_that_step_alone_go_on_alike_after_each_epoch() -> None:
    first, second = run_together(2, average, 8, 2, "adamw")
    assert all(torch.equal(first["net"][name], second["net"][name]) for name in first["net"])
    for index, state in first["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, second["optimizer"]["state"][index][name])
    # In between they go their own ways, and are told of one that leaves at the next average.
    assert not torch.equal(first["before"], second["before"])
    assert first["left_at"] == second["left_at"] == 8


def average(rank: int, workers: int, steps: int, here: int, optimizer: str) -> dict[str, Any]:
    local = partial(LocalStep, rank=rank, workers=workers, workers_here=here, steps=steps)
    net, taken, before, left_at = descended(local, rank, workers, optimizer, epochs=2)
    kept = {"net": net.state_dict(), "optimizer": taken.state_dict()}
    return {**kept, "before": before, "left_at": left_at}


def descended(
    joint_step: Any, rank: int, workers: int, optimizer: str, epochs: int
) -> tuple[Net, torch.optim.Optimizer, torch.Tensor, int]:
    """Weights and optimizer after epochs of 20 steps; weights before the last epoch's end; and the
    step of the first epoch at which a worker was told that the last one is to leave."""
    torch.manual_seed(rank)
    net = Net()
    made: torch.optim.Optimizer = (
        torch.optim.SGD(net.parameters(), lr=0.05)
        if optimizer == "sgd"
        else torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True)
    )
    joint = joint_step(net)
    draw = torch.Generator().manual_seed(1)
    left_at = -1
    for epoch in range(epochs):
        for step in range(20):
            rows = torch.randn(ROWS, 7, generator=draw)[rank::workers]
            joint.begin()
            ((net(rows) - rows).square().mean() / joint.summed).backward()
            is_left = joint.share(is_leaving=rank == workers - 1 and epoch == 0)
            left_at = step if is_left and left_at < 0 else left_at
            made.step()
            joint.end()
        before = net.first.weight.detach().clone()
        joint.end_epoch(made)
    return net, made, before, left_at

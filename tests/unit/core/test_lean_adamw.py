"""The lean optimizer gives PyTorch's numbers, whatever its parameters are like."""

import pytest
import torch
from torch import nn

from isthmus.core.lean_adamw import LeanAdamW


def trained(make, net, *, steps=5, without=frozenset(), between=None):
    """Weights and the optimizer's state after some steps, of the same gradients for each maker."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    groups = [
        {"params": list(net[0].parameters())},
        {"params": list(net[1].parameters()), "lr": 0.3, "weight_decay": 0.0},
    ]
    optimizer = make(groups)
    for step in range(steps):
        for index, parameter in enumerate(net.parameters()):
            gradient = torch.randn_like(parameter)
            parameter.grad = None if (step, index) in without else gradient
        optimizer.step()
        if between:
            between(optimizer, step)
    weights = [each.detach().clone() for each in net.parameters()]
    return weights, optimizer.state_dict()


def lean(groups):
    return LeanAdamW(groups, lr=0.1, weight_decay=0.01)


def of_torch(groups):
    return torch.optim.AdamW(groups, lr=0.1, weight_decay=0.01, fused=True)


def net(dtypes=(torch.float32, torch.float32)):
    return nn.Sequential(nn.Linear(5, 3, dtype=dtypes[0]), nn.Linear(3, 2, dtype=dtypes[1]))


def halve(optimizer, step):
    for group in optimizer.param_groups:
        group["lr"] /= 2


CASES = {
    "plain": {},
    "a parameter without a gradient at times": {"without": {(0, 1), (3, 0)}},
    "a group without gradients": {"without": {(2, 2), (2, 3)}},
    "a schedule": {"between": halve},
}


@pytest.mark.parametrize("case", CASES)
def test_steps_are_pytorchs_bit_for_bit(case):
    torch.testing.assert_close(
        trained(lean, net(), **CASES[case]), trained(of_torch, net(), **CASES[case]), rtol=0, atol=0
    )


def test_mixed_types_are_left_to_pytorch():
    kinds = (torch.float32, torch.float64)
    torch.testing.assert_close(
        trained(lean, net(kinds)), trained(of_torch, net(kinds)), rtol=0, atol=0
    )


def resumed(make):
    def made(groups):
        optimizer = make(groups)
        optimizer.load_state_dict(trained(of_torch, net())[1])
        return optimizer

    return made


def test_a_state_of_pytorchs_goes_on():
    torch.testing.assert_close(
        trained(resumed(lean), net()), trained(resumed(of_torch), net()), rtol=0, atol=0
    )


def test_a_schedule_of_pytorchs_counts_its_steps():
    optimizer = LeanAdamW(net().parameters(), lr=1.0, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for _ in range(3):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        schedule.step()  # warns if it saw no step, and warnings are errors here
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_a_step_that_is_replayed_takes_the_learning_rates_it_is_told():
    def held(groups):
        optimizer = lean(groups)
        optimizer.rates_to(torch.device("cpu"))
        return optimizer

    def halve_and_tell(optimizer, step):
        halve(optimizer, step)
        optimizer.rates_to(torch.device("cpu"))

    told, of_torchs = (
        trained(make, net(), between=between)
        for make, between in ((held, halve_and_tell), (of_torch, halve))
    )
    torch.testing.assert_close(told, of_torchs)
    untold, constant = (
        trained(make, net(), between=between) for make, between in ((held, halve), (of_torch, None))
    )
    torch.testing.assert_close(untold[0], constant[0])

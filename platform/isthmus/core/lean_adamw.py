"""AdamW whose step is its kernel's, and not mostly the bookkeeping around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LeanAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW(fused=True)`, to the last bit.

    PyTorch's step sorts the parameters by device and type, asks for hooks and notes itself for a
    profiler, each time anew. A small net's kernel takes a fifth of that time. What is not plain
    (a closure, a scaled loss, parameters without a state) is left to PyTorch's own.

    Attributes:
        is_uniform: Whether all parameters are of one type on one device.

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", arXiv:1711.05101.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        """As `torch.optim.AdamW`."""
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)
        kinds = {
            (each.device, each.dtype) for group in self.param_groups for each in group["params"]
        }
        self.is_uniform = len(kinds) == 1
        self._rates: list[Tensor] | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have gradients."""
        lists = None if closure or hasattr(self, "grad_scale") else self._lists()
        if lists is None:
            return super().step(closure)
        rates = self._rates or [group["lr"] for group in self.param_groups]
        for group, rate, (parameters, gradients, means, squares, steps) in zip(
            self.param_groups, rates, lists, strict=True
        ):
            if not parameters:
                continue
            beta1, beta2 = group["betas"]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return None

    def rates_to(self, device: torch.device) -> None:
        """From now on a step reads the learning rates from memory of a device, as of this call.

        A recorded step has no other way to learn that they changed.
        """
        rates = [float(group["lr"]) for group in self.param_groups]
        if self._rates is None:
            self._rates = [torch.tensor(rate, device=device) for rate in rates]
        for held, rate in zip(self._rates, rates, strict=True):
            held.fill_(rate)

    # PyTorch would wrap it to find out at each step whether there are hooks.
    step.hooked = True  # type: ignore[attr-defined]

    def _lists(self) -> list[tuple[list[Tensor], ...]] | None:
        """What the kernel takes, of each group; `None` if it has to be PyTorch that looks."""
        if not self.is_uniform:
            return None
        found: list[tuple[list[Tensor], ...]] = []
        for group in self.param_groups:
            lists: tuple[list[Tensor], ...] = ([], [], [], [], [])
            parameters, gradients, means, squares, steps = lists
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state.get(parameter)
                if not state:
                    return None
                parameters.append(parameter)
                gradients.append(gradient)
                means.append(state["exp_avg"])
                squares.append(state["exp_avg_sq"])
                steps.append(state["step"])
            found.append(lists)
        return found

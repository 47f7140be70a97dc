"""Nonlinearities that overwrite what only they read, where nobody else looks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.overwriting import may_overwrite

_is_scripting: Callable[[], bool] = torch.jit.is_scripting  # type: ignore[attr-defined]
# What these give is a new tensor, which the next layer of a sequence alone gets.
_MAKERS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d),
    *(nn.LayerNorm, nn.GroupNorm),
)
_OVERWRITING: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.GELU: torch.ops.aten.gelu_,
    nn.SiLU: torch.ops.aten.silu_,
    nn.Tanh: torch.tanh_,
}


def act_in_place(net: nn.Module) -> None:
    """Lets the nonlinearities of a net overwrite their input, within `overwriting`.

    Args:
        net: Changed; what it computes stays, and so do its weights and their names.
    """
    for sequence in [each for each in net.modules() if isinstance(each, nn.Sequential)]:
        for index, (before, layer) in enumerate(pairwise(sequence), start=1):
            if isinstance(before, _MAKERS) and _can_overwrite(layer):
                sequence[index] = _InPlace(layer)


def _can_overwrite(layer: nn.Module) -> bool:
    # GELU by its approximation is another function.
    return type(layer) in _OVERWRITING and getattr(layer, "approximate", "none") == "none"


class _InPlace(nn.Module):
    """A nonlinearity, in place where it may be."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        if _is_scripting():
            found: Tensor = self.activation(x)
            return found
        if may_overwrite():
            return _OVERWRITING[type(self.activation)](x)
        return cast("Tensor", self.activation(x))

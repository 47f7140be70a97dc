"""The last layer of an image decoder: a convolution from many channels to those of the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_SIDE = 3
_PADDING = _SIDE // 2
# With more output channels than this, matrix products save nothing over torch's convolution.
_FEW = 4


class ToPicture(nn.Conv2d):
    """A 3x3 convolution that keeps the image size, with the weights and results of `nn.Conv2d`.

    On a CPU torch's convolution takes as long for one output channel as for eight, which is a fifth
    of a small net's step. Here one matrix product computes the nine products of each pixel, which
    are then added up at their positions, in a third of the time.
    """

    def __init__(self, channels: int, picture_channels: int) -> None:
        """Creates the layer.

        Args:
            channels: Number of input channels.
            picture_channels: Number of output channels.
        """
        super().__init__(channels, picture_channels, _SIDE, padding=_PADDING)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, channels, H, W) to (B, picture_channels, H, W)."""
        if self._is_by_products(input):
            picture: Tensor = _ByProducts.apply(input, self.weight)  # type: ignore[no-untyped-call]
            assert self.bias is not None  # noqa: S101 (by `__init__`)
            return picture + self.bias.view(1, -1, 1, 1)
        return super().forward(input)

    def _is_by_products(self, x_BCHW: Tensor) -> bool:
        is_recorded = torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
        return (
            self.out_channels <= _FEW
            and x_BCHW.device.type == "cpu"
            and x_BCHW.dtype == self.weight.dtype
            and not torch.is_autocast_enabled("cpu")
            and not is_recorded
        )


class _ByProducts(torch.autograd.Function):
    """A 3x3 convolution to few channels without bias, which can be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, w_OCKK: Tensor) -> Tensor:
        """Computes the products of every pixel, and adds each to the neighbour it belongs to."""
        ctx.save_for_backward(x_BCHW, w_OCKK)
        # Flipped, because what a pixel adds to its left neighbour, that takes from its right.
        taps_TC = w_OCKK.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)
        return functional.fold(
            taps_TC @ x_BCHW.flatten(2), x_BCHW.shape[2:], _SIDE, padding=_PADDING
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Returns the gradients of the image and of the weights."""
        (g_BOHW,) = gradients
        x_BCHW, w_OCKK = ctx.saved_tensors
        of_x = of_w = None
        if ctx.needs_input_grad[0]:
            of_x = functional.conv2d(g_BOHW, w_OCKK.transpose(0, 1).flip(2, 3), padding=_PADDING)
        if ctx.needs_input_grad[1]:
            taken_BTP = functional.unfold(g_BOHW, _SIDE, padding=_PADDING)
            taps_TC = torch.bmm(taken_BTP, x_BCHW.flatten(2).transpose(1, 2)).sum(0)
            of_w = taps_TC.view(len(w_OCKK), _SIDE, _SIDE, -1).permute(0, 3, 1, 2).flip(2, 3)
        return of_x, of_w

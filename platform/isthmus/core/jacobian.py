"""The size of an encoder's Jacobian, with gradients of its own.

Shapes: x_B... scaled rows; z_BD their encodings; F numbers in a row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Encode = Callable[[Tensor], Tensor]


def exact_square_norm(encode: Encode, x: Tensor, *, keep_graph: bool) -> Tensor:
    """The squared Frobenius norm of dz/dx of each row, by a backward pass for each of D.

    Args:
        encode: (B, *row) to (B, D); each row's output depends on that row alone.
        x: Shape (B, *row).
        keep_graph: Whether the result shall carry gradients to the encoder's weights.

    Returns:
        Shape (B,).

    Source: Rifai et al. 2011, "Contractive Auto-Encoders: Explicit Invariance During Feature
    Extraction", ICML, equation 1.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        z_BD = encode(x)
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for column in z_BD.unbind(dim=1):
            (gradient,) = torch.autograd.grad(
                column.sum(), x, create_graph=keep_graph, retain_graph=True
            )
            total = total + gradient.flatten(1).square().sum(dim=1)
    return total


def estimated_square_norm(encode: Encode, x: Tensor, *, samples: int, keep_graph: bool) -> Tensor:
    """An unbiased estimate of the same, shape (B,): the mean of |v^T dz/dx|^2 for signs v.

    Args:
        encode: As in `exact_square_norm`.
        x: Shape (B, *row).
        samples: Draws of v; the variance falls as 1 / samples.
        keep_graph: Whether the result shall carry gradients to the encoder's weights.

    Source: Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix",
    Communications in Statistics 19(2): E[v^T A v] is the trace of A, here of J J^T.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        z_BD = encode(x)
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for _ in range(samples):
            signs = torch.randint_like(z_BD, 2) * 2 - 1
            (gradient,) = torch.autograd.grad(
                (z_BD * signs).sum(), x, create_graph=keep_graph, retain_graph=True
            )
            total = total + gradient.flatten(1).square().sum(dim=1)
    return total / samples

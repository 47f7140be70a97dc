"""The norm of an encoder's Jacobian, which can itself be differentiated.

Shapes: x_B... are scaled rows; z_BD are their encodings; F is the number of values in a row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Encode = Callable[[Tensor], Tensor]


def exact_square_norm(encode: Encode, x: Tensor, *, keep_graph: bool) -> Tensor:
    """Computes the squared Frobenius norm of dz/dx for each row, with D backward passes.

    Args:
        encode: A function from (B, *row) to (B, D). Each output row must depend only on its own
            input row.
        x: The rows, shape (B, *row).
        keep_graph: Whether the result passes gradients to the encoder's weights.

    Returns:
        The squared norms, shape (B,).

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
    """Estimates the squared Frobenius norm of dz/dx for each row, without bias.

    The estimate is the mean of |v^T dz/dx|^2 over vectors v of random signs.

    Args:
        encode: The encoder, as in `exact_square_norm`.
        x: The rows, shape (B, *row).
        samples: The number of draws of v. The variance falls as 1 / samples.
        keep_graph: Whether the result passes gradients to the encoder's weights.

    Returns:
        The estimates, shape (B,).

    Source: Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix",
    Communications in Statistics 19(2): E[v^T A v] is the trace of A. Here A is J J^T.
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

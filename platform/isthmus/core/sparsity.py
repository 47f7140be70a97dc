"""Latents of which few numbers are not zero: how they are made, counted and kept alive.

Shapes: z_BD latents, at least 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.workers import sum_over_workers


def keep_largest(z_BD: Tensor, k: int) -> Tensor:
    """Each row's `k` largest numbers; all others 0.

    Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv:2406.04093,
    equation 1.
    """
    values, places = z_BD.topk(min(k, z_BD.shape[1]), dim=1)
    # Not zeros_like, whose number of rows an ONNX export may hold fast.
    return z_BD.detach().clamp(0, 0).scatter(1, places, values)


def keep_largest_of(z_BD: Tensor, k: int, is_chosen_D: Tensor) -> Tensor:
    """Each row's `k` largest numbers among those chosen, negative ones too; all others 0.

    Args:
        z_BD: Before they are rectified: a number that is dead may be below 0 in every row, and
            would get no gradient after.
        k: As in `keep_largest`; fewer are kept where fewer are chosen.
        is_chosen_D: Bool.

    Source: Gao et al. 2024, arXiv:2406.04093, section 2.4 (AuxK, of the dead latents).
    """
    kept = keep_largest(z_BD.masked_fill(~is_chosen_D, -torch.inf), k)
    return torch.where(is_chosen_D, kept, 0.0)


def keep_largest_of_batch(z_BD: Tensor, k: int) -> Tensor:
    """The `k * B` largest numbers of the whole batch; all others 0.

    Source: Bussmann et al. 2024, "BatchTopK Sparse Autoencoders", arXiv:2412.06410, equation 3.
    """
    flat = z_BD.flatten()
    values, places = flat.topk(min(k * len(z_BD), flat.numel()))
    return torch.zeros_like(flat).scatter(0, places, values).view_as(z_BD)


def numbers_in_use(z_BD: Tensor) -> float:
    """How many of a latent's numbers are not zero, on average over rows (L0)."""
    return float((z_BD != 0).sum(dim=1).float().mean())


def never_used(z_BD: Tensor) -> float:
    """How many of a latent's numbers are zero in every row."""
    return float((z_BD == 0).all(dim=0).sum())


def l1_over_l2(z_BD: Tensor) -> Tensor:
    """Each row's sum of absolute values over the batch's root mean square, shape (B,).

    The plain sum could be made as small as one likes by a smaller latent and larger weights of
    the decoder; this ratio does not change with the latent's scale.

    Source: Hurley & Rickard 2009, "Comparing Measures of Sparsity", arXiv:0811.4706, table I.
    """
    full_BD = z_BD.to(torch.promote_types(z_BD.dtype, torch.float32))
    size = full_BD.square().mean().sqrt().clamp(min=1e-8)
    return full_BD.abs().sum(dim=1) / size


def kl_from_target(z_BD: Tensor, target: float) -> Tensor:
    """KL divergence of Bernoulli(target) from Bernoulli(mean activation), summed over D.

    Args:
        z_BD: In (0, 1).
        target: The mean activation that is wanted.

    Returns:
        Shape (), in nats. It is of the batch, not of a row.

    Source: Ng 2011, "Sparse autoencoder", CS294A lecture notes, section 3.
    """
    # In bfloat16 the bound below 1 would be 1 itself, and the divergence infinite.
    full_BD = z_BD.to(torch.promote_types(z_BD.dtype, torch.float32))
    mean_D = full_BD.mean(dim=0).clamp(1e-6, 1 - 1e-6)
    goal = torch.full_like(mean_D, target)
    kl_D = goal * (goal / mean_D).log() + (1 - goal) * ((1 - goal) / (1 - mean_D)).log()
    return kl_D.sum()


class Usage(nn.Module):
    """How many rows of all workers have passed since each number of the latent was last used.

    Attributes:
        rows_unused: Shape (D,).
    """

    rows_unused: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("rows_unused", torch.zeros(latent_dim))

    @torch.no_grad()
    def update(self, z_BD: Tensor) -> None:
        """Counts a batch, of which each worker has its share."""
        used_D = sum_over_workers((z_BD != 0).sum(dim=0).float()) > 0
        rows = sum_over_workers(self.rows_unused.new_full((), len(z_BD)))
        self.rows_unused.copy_(torch.where(used_D, 0.0, self.rows_unused + rows))

    def dead(self, after_rows: int) -> Tensor:
        """Shape (D,), bool: which were not used for so many rows."""
        return self.rows_unused >= after_rows

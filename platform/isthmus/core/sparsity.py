"""Sparse latents: functions that create them, measure sparsity and find dead dimensions.

Shapes: z_BD are latents, which are at least 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.workers import sum_over_workers


def keep_largest(z_BD: Tensor, k: int) -> Tensor:
    """Keeps each row's `k` largest values and sets all others to 0.

    Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv:2406.04093,
    equation 1.
    """
    values, places = z_BD.topk(min(k, z_BD.shape[1]), dim=1)
    # Not zeros_like: an ONNX export may fix its number of rows.
    return z_BD.detach().clamp(0, 0).scatter(1, places, values)


def keep_largest_of(z_BD: Tensor, k: int, is_chosen_D: Tensor) -> Tensor:
    """Keeps each row's `k` largest values in the chosen dimensions and sets all others to 0.

    Negative values can be kept, too.

    Args:
        z_BD: The latents before the ReLU. A dead dimension may be below 0 in every row, and would
            get no gradient after the ReLU.
        k: The number of values to keep. Fewer are kept if fewer dimensions are chosen.
        is_chosen_D: Whether each dimension is chosen, bool.

    Source: Gao et al. 2024, arXiv:2406.04093, section 2.4 (AuxK, of the dead latents).
    """
    kept = keep_largest(z_BD.masked_fill(~is_chosen_D, -torch.inf), k)
    return torch.where(is_chosen_D, kept, 0.0)


def keep_largest_of_batch(z_BD: Tensor, k: int) -> Tensor:
    """Keeps the `k * B` largest values of the whole batch and sets all others to 0.

    Source: Bussmann et al. 2024, "BatchTopK Sparse Autoencoders", arXiv:2412.06410, equation 3.
    """
    flat = z_BD.flatten()
    values, places = flat.topk(min(k * len(z_BD), flat.numel()))
    return torch.zeros_like(flat).scatter(0, places, values).view_as(z_BD)


def numbers_in_use(z_BD: Tensor) -> float:
    """Returns the number of latent values that are not zero, averaged over rows (L0)."""
    return float((z_BD != 0).sum(dim=1).float().mean())


def never_used(z_BD: Tensor) -> float:
    """Returns the number of latent dimensions that are zero in every row."""
    return float((z_BD == 0).all(dim=0).sum())


def l1_over_l2(z_BD: Tensor) -> Tensor:
    """Computes each row's L1 norm divided by the batch's root mean square, shape (B,).

    A smaller latent with larger decoder weights could make the plain norm arbitrarily small. This
    ratio does not change with the latent's scale.

    Source: Hurley & Rickard 2009, "Comparing Measures of Sparsity", arXiv:0811.4706, table I.
    """
    full_BD = z_BD.to(torch.promote_types(z_BD.dtype, torch.float32))
    size = full_BD.square().mean().sqrt().clamp(min=1e-8)
    return full_BD.abs().sum(dim=1) / size


def kl_from_target(z_BD: Tensor, target: float) -> Tensor:
    """Computes the KL divergence of Bernoulli(target) from Bernoulli(mean activation).

    Args:
        z_BD: The activations, in (0, 1).
        target: The desired mean activation.

    Returns:
        The divergence, shape (), in nats, summed over D. It belongs to the batch and not to a row.

    Source: Ng 2011, "Sparse autoencoder", CS294A lecture notes, section 3.
    """
    # In bfloat16 the upper bound would be rounded to 1, and the divergence could be infinite.
    full_BD = z_BD.to(torch.promote_types(z_BD.dtype, torch.float32))
    mean_D = full_BD.mean(dim=0).clamp(1e-6, 1 - 1e-6)
    goal = torch.full_like(mean_D, target)
    kl_D = goal * (goal / mean_D).log() + (1 - goal) * ((1 - goal) / (1 - mean_D)).log()
    return kl_D.sum()


class Usage(nn.Module):
    """A counter of the rows since each latent dimension was last used, over all workers.

    Attributes:
        rows_unused: The number of rows since the last use, shape (D,).
    """

    rows_unused: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("rows_unused", torch.zeros(latent_dim))

    @torch.no_grad()
    def update(self, z_BD: Tensor) -> None:
        """Counts the rows of a batch, of which each worker has a part."""
        used_D = sum_over_workers((z_BD != 0).sum(dim=0).float()) > 0
        rows = sum_over_workers(self.rows_unused.new_full((), len(z_BD)))
        self.rows_unused.copy_(torch.where(used_D, 0.0, self.rows_unused + rows))

    def dead(self, after_rows: int) -> Tensor:
        """Returns which dimensions were not used for `after_rows` rows, shape (D,), bool."""
        return self.rows_unused >= after_rows

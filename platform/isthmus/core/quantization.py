"""Latents that are chosen from a finite set: codebooks that follow the data, and their figures.

Shapes: v_ND vectors to be quantised; K codes of D numbers; indices_N which code is nearest.
"""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn

from isthmus.core.workers import from_first_worker, rows_of_all_workers, sum_over_workers

_EPSILON = 1e-5
# Codes that begin at the same vector would stay together.
_JITTER = 0.01


class Codebook(nn.Module):
    """Codes that are moving averages of the vectors nearest to them; the same on all workers.

    Attributes:
        codes: Shape (K, D).
        counts: Shape (K,). Moving average of the vectors in a batch that chose each code.
        sums: Shape (K, D). Moving average of those vectors' sums.
        begun: Shape (), bool. Whether the codes were put where the data are.

    Source: van den Oord et al. 2017, "Neural Discrete Representation Learning", arXiv:1711.00937,
    appendix A.1; codes that nobody chooses begin anew as in Dhariwal et al. 2020, "Jukebox",
    arXiv:2005.00341, section 3.1.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    begun: Tensor

    def __init__(self, codes: int, code_dim: int, decay: float, least_count: float) -> None:
        """Args:
        codes: How many.
        code_dim: Numbers of each.
        decay: Of the moving averages, for each batch.
        least_count: A code chosen less often than this, on average over batches, begins anew.
        """
        super().__init__()
        self.decay = decay
        self.least_count = least_count
        self.register_buffer("codes", torch.randn(codes, code_dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("begun", torch.tensor(False))
        self._has_begun = False  # what the buffer says, without waiting for the device

    def nearest(self, v_ND: Tensor) -> Tensor:
        """Indices (N,) of the nearest codes."""
        # Unlike a product of matrices this has all its digits under mixed precision too.
        distance_NK = torch.cdist(v_ND.to(self.codes.dtype), self.codes)
        return distance_NK.argmin(dim=1)

    def look_up(self, indices: Tensor) -> Tensor:
        """The codes of indices, shape (..., D)."""
        return self.codes[indices]

    @torch.no_grad()
    def update(self, v_ND: Tensor) -> None:
        """Moves the codes towards a batch, of which each worker has its share."""
        v_ND = v_ND.detach().to(self.codes.dtype)
        self._has_begun = self._has_begun or bool(self.begun)
        if not self._has_begun:
            self._begin_at(v_ND)
        chosen_NK = nn.functional.one_hot(self.nearest(v_ND), len(self.codes)).to(v_ND.dtype)
        self.counts.lerp_(sum_over_workers(chosen_NK.sum(dim=0)), 1 - self.decay)
        # Sums that are rounded would pull the codes away from the means that they are.
        with torch.autocast(v_ND.device.type, enabled=False):
            of_code_KD = chosen_NK.t() @ v_ND
        self.sums.lerp_(sum_over_workers(of_code_KD), 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + _EPSILON) / (total + len(self.counts) * _EPSILON) * total
        self.codes.copy_(self.sums / smoothed.unsqueeze(1))
        self._begin_anew(v_ND)

    def _begin_at(self, v_ND: Tensor) -> None:
        self.codes.copy_(_drawn(v_ND, len(self.codes)))
        self.sums.copy_(self.codes)
        self.begun.fill_(True)

    def _begin_anew(self, v_ND: Tensor) -> None:
        is_dead = self.counts < self.least_count
        fresh = _drawn(v_ND, len(self.codes))
        # As if chosen just often enough: if nobody chooses it now, it begins anew again.
        self.codes.copy_(torch.where(is_dead.unsqueeze(1), fresh, self.codes))
        self.counts.copy_(torch.where(is_dead, self.least_count, self.counts))
        dead_sums = fresh * self.least_count
        self.sums.copy_(torch.where(is_dead.unsqueeze(1), dead_sums, self.sums))


def straight_through(v: Tensor, quantized: Tensor) -> Tensor:
    """The quantised value, with the gradient of the value before.

    Source: Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons",
    arXiv:1308.3432, section 4.
    """
    return v + (quantized - v).detach()


def usage(indices: Tensor, codes: int) -> dict[str, float]:
    """`perplexity` (codes that would carry as much, if all were equally frequent), `dead_codes`.

    Args:
        indices: Of any shape, in [0, codes).
        codes: How many there are.
    """
    counts = torch.bincount(indices.flatten(), minlength=codes).double()
    share = counts / counts.sum()
    entropy_nats = -torch.xlogy(share, share).sum()
    return {"perplexity": float(entropy_nats.exp()), "dead_codes": float((counts == 0).sum())}


def bits(codes: int, choices: int) -> float:
    """Bits in so many choices of one of so many codes."""
    return choices * log2(codes)


def _drawn(v_ND: Tensor, count: int) -> Tensor:
    """Vectors of all workers' batches drawn at random, (count, D), the same on all."""
    everyone = rows_of_all_workers(v_ND)
    places = torch.randint(len(everyone), (count,), device=v_ND.device)
    jitter = torch.randn(count, v_ND.shape[1], device=v_ND.device) * _JITTER
    spread = everyone.std(dim=0, correction=0)
    return from_first_worker(everyone[places] + jitter * spread)

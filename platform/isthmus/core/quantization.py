"""Quantisation of latents: codebooks that follow the data, and metrics of their use.

Shapes: v_ND are vectors to be quantised. There are K codes of D values each. indices_N are the
indices of the nearest codes.
"""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn

from isthmus.core.workers import from_first_worker, rows_of_all_workers, sum_over_workers

_EPSILON = 1e-5
# The noise of initial codes, relative to the data's spread. Without it, codes that start at the
# same vector would stay the same.
_JITTER = 0.01
_EXACTLY = "donot_use_mm_for_euclid_dist"


class Codebook(nn.Module):
    """A codebook whose codes are moving averages of their nearest vectors, the same on all workers.

    Attributes:
        codes: The codes, shape (K, D).
        counts: The moving average of the number of vectors per batch that chose each code, shape
            (K,).
        sums: The moving average of the sum of these vectors, shape (K, D).
        begun: Whether the codes were initialised from data, shape (), bool.

    Source: van den Oord et al. 2017, "Neural Discrete Representation Learning", arXiv:1711.00937,
    appendix A.1; unused codes are restarted as in Dhariwal et al. 2020, "Jukebox",
    arXiv:2005.00341, section 3.1.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    begun: Tensor

    def __init__(self, codes: int, code_dim: int, decay: float, least_count: float) -> None:
        """Draws random codes, which the first batch replaces.

        Args:
            codes: The number of codes.
            code_dim: The number of values in each code.
            decay: The decay of the moving averages per batch.
            least_count: A code that fewer vectors choose per batch, on average, is restarted.
        """
        super().__init__()
        self.decay = decay
        self.least_count = least_count
        self.register_buffer("codes", torch.randn(codes, code_dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("begun", torch.tensor(False))
        self._has_begun = False  # a copy of the buffer that needs no wait for the device

    def nearest(self, v_ND: Tensor) -> Tensor:
        """Returns the indices (N,) of the nearest codes."""
        # Unlike a matrix product, cdist runs in full precision under autocast. For more than 25
        # vectors it takes a matrix product itself, a few times as fast, whose rounding decides
        # between codes that are close to each other: a row's codes would depend on its batch.
        mode = "use_mm_for_euclid_dist_if_necessary" if self.training else _EXACTLY
        distance_NK = torch.cdist(v_ND.to(self.codes.dtype), self.codes, compute_mode=mode)
        return distance_NK.argmin(dim=1)

    def look_up(self, indices: Tensor) -> Tensor:
        """Returns the codes at the indices, shape (..., D)."""
        return self.codes[indices]

    @torch.no_grad()
    def update(self, v_ND: Tensor) -> None:
        """Moves the codes towards a batch, of which each worker has a part."""
        v_ND = v_ND.detach().to(self.codes.dtype)
        self._has_begun = self._has_begun or bool(self.begun)
        if not self._has_begun:
            self._begin_at(v_ND)
        chosen_NK = nn.functional.one_hot(self.nearest(v_ND), len(self.codes)).to(v_ND.dtype)
        self.counts.lerp_(sum_over_workers(chosen_NK.sum(dim=0)), 1 - self.decay)
        # The rounding of sums in half precision would pull the codes away from the means.
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
        # A new code counts as chosen just often enough. If it stays unused, it is restarted again.
        self.codes.copy_(torch.where(is_dead.unsqueeze(1), fresh, self.codes))
        self.counts.copy_(torch.where(is_dead, self.least_count, self.counts))
        dead_sums = fresh * self.least_count
        self.sums.copy_(torch.where(is_dead.unsqueeze(1), dead_sums, self.sums))


def straight_through(v: Tensor, quantized: Tensor) -> Tensor:
    """Returns the quantised value, whose gradient passes unchanged to the value before.

    Source: Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons",
    arXiv:1308.3432, section 4.
    """
    return quantized.detach() + (v - v.detach())


def usage(indices: Tensor, codes: int) -> dict[str, float]:
    """Computes the `perplexity` and the number of `dead_codes` of chosen codes.

    The perplexity is the number of equally frequent codes that would carry as much information.

    Args:
        indices: The indices of the chosen codes, in [0, codes), of any shape.
        codes: The number of codes in the codebook.
    """
    counts = torch.bincount(indices.flatten(), minlength=codes).double()
    share = counts / counts.sum()
    entropy_nats = -torch.xlogy(share, share).sum()
    return {"perplexity": float(entropy_nats.exp()), "dead_codes": float((counts == 0).sum())}


def bits(codes: int, choices: int) -> float:
    """Returns the number of bits that `choices` choices of one of `codes` codes carry."""
    return choices * log2(codes)


def _drawn(v_ND: Tensor, count: int) -> Tensor:
    """Draws random vectors (count, D) from all workers' batches, the same on all workers."""
    everyone = rows_of_all_workers(v_ND)
    places = torch.randint(len(everyone), (count,), device=v_ND.device)
    jitter = torch.randn(count, v_ND.shape[1], device=v_ND.device) * _JITTER
    spread = everyone.std(dim=0, correction=0)
    return from_first_worker(everyone[places] + jitter * spread)

"""How the learning rate moves over training, step by step."""

from __future__ import annotations

from math import cos, pi
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Schedule = Literal["constant", "cosine", "linear"]


def learning_rate_schedule(
    optimizer: Optimizer,
    *,
    schedule: Schedule,
    warm_up_steps: float,
    steps: float,
    final_share: float,
) -> LambdaLR:
    """Returns a linear warm-up, followed by a schedule.

    Args:
        optimizer: Its learning rate moves.
        schedule: How the learning rate falls after the warm-up.
        warm_up_steps: Steps over which the learning rate rises from 0.
        steps: All steps of training.
        final_share: What a falling schedule leaves of the learning rate at the last step.

    Source: warm-up as in Goyal et al. 2017, arXiv:1706.02677, section 2.2; cosine as in
    Loshchilov & Hutter 2016, arXiv:1608.03983, equation 5, without restarts.
    """

    def factor(step: int) -> float:
        if step < warm_up_steps:
            return (step + 1) / (warm_up_steps + 1)
        if schedule == "constant":
            return 1.0
        through = min(1.0, (step - warm_up_steps) / max(1.0, steps - warm_up_steps))
        shape = 1 - through if schedule == "linear" else 0.5 * (1 + cos(pi * through))
        return final_share + (1 - final_share) * shape

    return LambdaLR(optimizer, factor)

"""Learning-rate schedules that are updated at every optimizer step."""

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
    """Returns a scheduler with a linear warm-up, followed by the given schedule.

    Args:
        optimizer: The optimizer whose learning rate the scheduler sets.
        schedule: The decay of the learning rate after the warm-up.
        warm_up_steps: The number of steps over which the learning rate rises from 0.
        steps: The number of steps in the whole training.
        final_share: The fraction of the learning rate that a decaying schedule reaches at the
            last step.

    Source: The warm-up is that of Goyal et al. 2017, arXiv:1706.02677, section 2.2; the cosine is
    that of Loshchilov & Hutter 2016, arXiv:1608.03983, equation 5, without restarts.
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

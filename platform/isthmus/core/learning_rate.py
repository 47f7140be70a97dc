"""How the learning rate moves over training, step by step."""

from __future__ import annotations

from math import cos, pi

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from isthmus.spec import TrainingSpec


def learning_rate_schedule(
    optimizer: Optimizer, training: TrainingSpec, steps_per_epoch: int
) -> LambdaLR:
    """A linear warm-up, then the schedule that the job asks for.

    Args:
        optimizer: Whose learning rate moves.
        training: The job's training options.
        steps_per_epoch: Steps of the optimizer in one pass over the rows.

    Source: warm-up as in Goyal et al. 2017, arXiv:1706.02677, section 2.2; cosine as in
    Loshchilov & Hutter 2016, arXiv:1608.03983, equation 5, without restarts.
    """
    warm_up = training.warm_up_epochs * steps_per_epoch
    total = training.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        if training.schedule == "constant":
            return 1.0
        through = min(1.0, (step - warm_up) / max(1.0, total - warm_up))
        lowest = training.final_learning_rate_share
        shape = 1 - through if training.schedule == "linear" else 0.5 * (1 + cos(pi * through))
        return lowest + (1 - lowest) * shape

    return LambdaLR(optimizer, factor)

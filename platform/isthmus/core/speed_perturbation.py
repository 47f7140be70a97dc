"""Sounds at other speeds, and so at other pitches: a few speakers stand for many.

Shapes: x is (B, ..., T), rows whose last axis is time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_random_speeds(x: Tensor, most: float) -> Tensor:
    """Plays each row at a speed of its own, as a tape would be, interpolated linearly.

    A slower row begins at a random step of the row. A faster one is continued by its mirror image.

    Args:
        x: The rows; all channels and views of a row have the same speed.
        most: The largest speed, above 1; the smallest is 1 over it, and as likely.

    Returns:
        Rows of the same shape.

    Source: Ko et al. 2015, "Audio Augmentation for Speech Recognition", Interspeech, section 2.
    """
    rows, last = len(x), x.shape[-1] - 1
    chance_2B = torch.rand(2, rows, device=x.device)
    speed_B1 = most ** (2 * chance_2B[0, :, None] - 1)
    begin_B1 = chance_2B[1, :, None] * last * (1 - speed_B1).clamp(min=0)
    place_BT = begin_B1 + speed_B1 * torch.arange(last + 1, device=x.device)
    place_BT = last - (last - place_BT.remainder(2 * last)).abs()
    before_BT = place_BT.long().clamp(max=last - 1)
    share_BT = place_BT - before_BT

    def spread(of_steps: Tensor) -> Tensor:
        return of_steps.reshape(rows, *[1] * (x.ndim - 2), last + 1).expand_as(x)

    before, after = (x.gather(-1, spread(step)) for step in (before_BT, before_BT + 1))
    return torch.lerp(before, after, spread(share_BT).to(x.dtype))

"""Parts of a row that are hidden from the encoder, and the error at those parts alone.

Shapes: mask_B... is bool, (B, *row) or broadcastable to it, true where a number is hidden.
"""

from __future__ import annotations

from math import ceil, prod

import torch
from torch import Tensor

from isthmus.core.reconstruction import Reconstruction
from isthmus.types import Shape


def masked_error(
    reconstruction: Reconstruction, output: Tensor, target: Tensor, mask: Tensor
) -> Tensor:
    """The error at the masked places alone, on the scale of a whole row's.

    The sum over a row's masked numbers, times the numbers in a row over the masked ones: what the
    whole row's error would be if all of it were as wrong. So other terms weigh against it as they
    do against the plain reconstruction term, whatever the masked share.

    Args:
        reconstruction: An elementwise loss.
        output: Shape (B, *row). The decoder's raw output.
        target: Shape (B, *row), in scaled units.
        mask: Shape (B, *row) or broadcastable to it; true in at least one place of every row.

    Returns:
        Shape (B,).
    """
    is_masked = mask.expand_as(target)
    # Chosen, not multiplied by 0: what is left out may be anything, infinite included.
    errors = torch.where(is_masked, reconstruction.elementwise(output, target), 0.0).flatten(1)
    numbers = prod(target.shape[1:])
    return errors.sum(dim=1) * (numbers / is_masked.flatten(1).sum(dim=1))


def patch_mask(x: Tensor, patch: int, share: float) -> Tensor:
    """Hides a share of each row's patches: squares of an image, spans of a series; all channels.

    Patches lie on a grid; those at the end of a side that they do not divide are cut off.

    Args:
        x: Shape (B, C, H, W) or (B, C, T).
        patch: Side of a patch, in pixels or steps.
        share: Of the patches to hide; rounded, and at least one is hidden and one left.

    Returns:
        Shape (B, 1, H, W) or (B, 1, T).

    Source: random masking as in He et al. 2021, arXiv:2111.06377, section 3; patches aligned for
    any net as in Xie et al. 2021, arXiv:2111.09886, section 3.2.
    """
    sides = x.shape[2:]
    grid = [ceil(side / patch) for side in sides]
    mask = _hide(len(x), prod(grid), share, x.device).reshape(len(x), 1, *grid)
    for axis, side in enumerate(sides, start=2):
        mask = mask.repeat_interleave(patch, dim=axis).narrow(axis, 0, side)
    return mask


def feature_mask(x: Tensor, share: float) -> Tensor:
    """Hides a share of each row's features, shape (B, F); at least one, and never all.

    Args:
        x: Shape (B, F), F >= 2.
        share: Of the features to hide.
    """
    return _hide(len(x), x.shape[1], share, x.device)


def from_other_rows(x: Tensor) -> Tensor:
    """Each number replaced by the same feature of another row of the batch, drawn at random.

    Args:
        x: Shape (B, F). A batch of one row has no other, and comes back as it is.

    Source: Yoon et al. 2020, "VIME", NeurIPS 33: a feature's values in the batch are draws from
    its marginal distribution.
    """
    rows = len(x)
    if rows == 1:
        return x
    step = torch.randint(1, rows, x.shape, device=x.device)
    other = (torch.arange(rows, device=x.device).unsqueeze(1) + step) % rows
    return x.gather(0, other)


def patches_of(row_shape: Shape, patch: int) -> int:
    """How many patches a row has: (C, H, W) or (C, T)."""
    return prod(ceil(side / patch) for side in row_shape[1:])


def _hide(rows: int, places: int, share: float, device: torch.device) -> Tensor:
    """Shape (rows, places), bool: the same number of places in each row, drawn at random."""
    hidden = min(max(round(share * places), 1), places - 1)
    order = torch.rand(rows, places, device=device).argsort(dim=1)
    return order < hidden

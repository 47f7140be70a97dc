"""Masks that hide parts of a row from the encoder, and the error at these parts alone.

Shapes: mask_B... is bool and (B, *row) or broadcastable to it. It is true where a value is hidden.
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
    """Computes the error at the masked values alone, on the scale of a whole row's error.

    The sum over a row's masked values is multiplied by the number of values in a row and divided by
    the number of masked ones. This is the error that the whole row would have if all of it were as
    wrong. Other loss terms are thus balanced against it as against the plain reconstruction term,
    whatever the masked fraction.

    Args:
        reconstruction: An elementwise loss.
        output: The decoder's raw output, shape (B, *row).
        target: The target in scaled units, shape (B, *row).
        mask: The mask, shape (B, *row) or broadcastable to it. It must be true somewhere in every
            row.

    Returns:
        The errors, shape (B,).
    """
    is_masked = mask.expand_as(target)
    # A multiplication by 0 would not remove errors that are infinite or NaN.
    errors = torch.where(is_masked, reconstruction.elementwise(output, target), 0.0).flatten(1)
    numbers = prod(target.shape[1:])
    return errors.sum(dim=1) * (numbers / is_masked.flatten(1).sum(dim=1))


def patch_mask(x: Tensor, patch: int, share: float) -> Tensor:
    """Draws a mask that hides a fraction of each row's patches, in all channels.

    Patches are squares of an image or spans of a series. They lie on a grid; if the patch size does
    not divide a side, the last patches are cut off.

    Args:
        x: The rows, shape (B, C, H, W) or (B, C, T).
        patch: The side of a patch, in pixels or steps.
        share: The fraction of patches to hide. It is rounded so that at least one patch is hidden
            and at least one is left.

    Returns:
        The mask, shape (B, 1, H, W) or (B, 1, T).

    Source: The random masking is that of He et al. 2021, arXiv:2111.06377, section 3; the aligned
    patches, which suit any net, are those of Xie et al. 2021, arXiv:2111.09886, section 3.2.
    """
    sides = x.shape[2:]
    grid = [ceil(side / patch) for side in sides]
    mask = _hide(len(x), prod(grid), share, x.device).reshape(len(x), 1, *grid)
    for axis, side in enumerate(sides, start=2):
        mask = mask.repeat_interleave(patch, dim=axis).narrow(axis, 0, side)
    return mask


def feature_mask(x: Tensor, share: float) -> Tensor:
    """Draws a mask that hides a fraction of each row's features, at least one and never all.

    Args:
        x: The rows, shape (B, F), with F >= 2.
        share: The fraction of features to hide.

    Returns:
        The mask, shape (B, F).
    """
    return _hide(len(x), x.shape[1], share, x.device)


def from_other_rows(x: Tensor) -> Tensor:
    """Replaces each value by the same feature of another row of the batch, drawn at random.

    Args:
        x: The rows, shape (B, F). A batch of one row is returned unchanged.

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
    """Returns the number of patches in a row of shape (C, H, W) or (C, T)."""
    return prod(ceil(side / patch) for side in row_shape[1:])


def _hide(rows: int, places: int, share: float, device: torch.device) -> Tensor:
    """Draws equally many hidden places in each row, as a bool mask of shape (rows, places)."""
    hidden = min(max(round(share * places), 1), places - 1)
    order = torch.rand(rows, places, device=device).argsort(dim=1)
    return order < hidden

"""Blind spots: places whose value is replaced by a neighbour's, so that a net cannot copy it.

Shapes: a row is (C, H, W), or (C, T), which is treated as (C, 1, T). It has P = H * W places, of
which M are blind. A place is blind in all channels at once.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Sampling = Literal["stratified", "uniform"]


def blind_spots(
    x: Tensor, share: float, radius: int, sampling: Sampling = "stratified"
) -> tuple[Tensor, Tensor]:
    """Replaces the values at a small fraction of places by those of random neighbours.

    Args:
        x: The rows, shape (B, C, H, W) or (B, C, T).
        share: The fraction of places to replace; at least one is replaced in each row.
        radius: The largest distance of the neighbour on each axis, in pixels or steps. The
            neighbour is never the place itself and never outside the row.
        sampling: `stratified` draws one place in each cell of a grid, so that the places lie
            apart; `uniform` draws them from the whole row.

    Returns:
        The changed rows, in the shape of x, and a bool mask of the replaced places, shape
        (B, 1, H, W) or (B, 1, T).

    Source: Krull et al. 2019, arXiv:1811.10980, sections 3.4 and 3.5.
    """
    rows, channels = x.shape[:2]
    height, width = (1, x.shape[2]) if x.ndim == 3 else (x.shape[2], x.shape[3])
    choose = _stratified if sampling == "stratified" else _uniform
    place_BM = choose(rows, height, width, share, x.device)
    neighbour_BM = _neighbours(place_BM, height, width, radius)

    def in_all_channels(place_BM: Tensor) -> Tensor:
        return place_BM.unsqueeze(1).expand(-1, channels, -1)

    flat_BCP = x.flatten(2)
    values = flat_BCP.gather(2, in_all_channels(neighbour_BM))
    replaced = flat_BCP.scatter(2, in_all_channels(place_BM), values)
    mask = torch.zeros(rows, height * width, dtype=torch.bool, device=x.device)
    mask = mask.scatter(1, place_BM, value=True)
    return replaced.reshape(x.shape), mask.reshape(rows, 1, *x.shape[2:])


def _uniform(rows: int, height: int, width: int, share: float, device: torch.device) -> Tensor:
    places = height * width
    count = min(max(round(share * places), 1), places)
    return torch.rand(rows, places, device=device).argsort(dim=1)[:, :count]


def _stratified(rows: int, height: int, width: int, share: float, device: torch.device) -> Tensor:
    """Draws one place in each cell of a grid whose cells are as square as the sides allow."""
    wanted = min(max(round(share * height * width), 1), height * width)
    down = min(max(round((wanted * height / width) ** 0.5), 1), height)
    across = min(max(round(wanted / down), 1), width)
    y = _one_in_each(rows, height, down, across, device)
    x = _one_in_each(rows, width, across, down, device).transpose(1, 2)
    return (y * width + x).flatten(1)


def _one_in_each(rows: int, side: int, parts: int, times: int, device: torch.device) -> Tensor:
    """Draws a coordinate in each of `parts` equal parts of a side, shape (rows, parts, times)."""
    # A part need not be a whole number of pixels: floor() of a continuous draw is still uniform.
    start = torch.arange(parts, device=device).view(1, parts, 1)
    drawn = (start + torch.rand(rows, parts, times, device=device)) * (side / parts)
    return drawn.long().clamp(max=side - 1)


def _neighbours(place_BM: Tensor, height: int, width: int, radius: int) -> Tensor:
    """Draws a random other place within `radius` of each place and within the row."""
    top, rows, down = _window(place_BM // width, height, radius)
    left, columns, across = _window(place_BM % width, width, radius)
    others = rows * columns - 1
    drawn = (torch.rand(place_BM.shape, device=place_BM.device) * others).long()
    drawn = torch.minimum(drawn, others - 1)
    # The places of the window are numbered row by row; the number of the place itself is skipped.
    drawn = drawn + (drawn >= down * columns + across)
    return (top + drawn // columns) * width + left + drawn % columns


def _window(at: Tensor, side: int, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the window's start, its length and the place's position in it, along one axis."""
    start = (at - radius).clamp(min=0)
    end = (at + radius).clamp(max=side - 1)
    return start, end - start + 1, at - start

"""Cuts an axis of an image into tiles that overlap, such that what is kept of them is exact."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        tile: The pixels of the image that the tile has.
        kept: The pixels of the image that the result takes from the tile.
    """

    tile: slice
    kept: slice

    @property
    def inside(self) -> slice:
        """The kept pixels, counted from the tile's first."""
        return slice(self.kept.start - self.tile.start, self.kept.stop - self.tile.start)


def spans_of(length: int, side: int, margin: int, step: int) -> list[Span]:
    """Returns tiles of one length that cover an axis.

    Kept pixels are at least `margin` away from the ends of their tile, except where the image ends
    there too. The tiles are as short as their number allows.

    Args:
        length: The length of the axis in pixels, a multiple of `step`.
        side: The largest length of a tile, more than two margins.
        margin: A multiple of `step`.
        step: All tiles begin and end at its multiples.
    """
    if length <= side:
        return [Span(slice(0, length), slice(0, length))]
    count = ceil((length - 2 * margin) / (side - 2 * margin))
    kept = rounded_up(ceil((length - 2 * margin) / count), step)
    last = length - kept - 2 * margin
    starts = [min(index * kept, last) for index in range(count)]
    ends = [start + margin for start in starts[1:]]
    return [
        Span(slice(start, start + kept + 2 * margin), slice(first, end))
        for start, first, end in zip(starts, [0, *ends], [*ends, length], strict=True)
    ]


def rounded_up(number: int, step: int) -> int:
    """Returns the least multiple of `step` that is not less than a number."""
    return -(-number // step) * step

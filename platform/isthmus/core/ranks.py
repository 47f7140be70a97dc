"""Where numbers stand among sorted ones, by a table in place of a search."""

from __future__ import annotations

import torch
from torch import Tensor

_CELLS = 1 << 14
# Beyond, a binary search is faster.
_MOST_IN_A_CELL = 8


class Ranks:
    """How many of some sorted numbers are below each of many others; exact.

    A binary search mispredicts half of its branches; for the net of a small table that takes
    longer than the net. Here the range is cut into cells: a table says how many of the sorted
    numbers are in lower cells, and those of the number's own cell are looked at one by one.

    Attributes:
        ordered: The sorted numbers, shape (N,).
    """

    def __init__(self, ordered: Tensor) -> None:
        """Args:
        ordered: Shape (N,), ascending, on the CPU.
        """
        # Its last stands for the number after the last, which nothing is above.
        self._padded = torch.cat([ordered, ordered.new_full((1,), torch.inf)])
        self.ordered = self._padded[:-1]
        self._per_unit = _CELLS / (ordered[-1] - ordered[0]).clamp(min=torch.finfo().tiny)
        cells = self._cells(ordered)
        all_cells = torch.arange(_CELLS, dtype=torch.int32)
        self._in_lower_cells = torch.searchsorted(cells, all_cells, out_int32=True)
        self._most_in_a_cell = int(torch.bincount(cells, minlength=1).max())

    def below(self, values: Tensor) -> Tensor:
        """Shape (B,), int32: how many are below each of the values, shape (B,)."""
        if self._most_in_a_cell > _MOST_IN_A_CELL:
            return torch.searchsorted(self.ordered, values, out_int32=True)
        # Of a number in a lower cell the value is above: `_cells` never falls.
        found = self._in_lower_cells.index_select(0, self._cells(values))
        for _ in range(self._most_in_a_cell):
            found += self._padded.index_select(0, found) < values
        return found

    def _cells(self, values: Tensor) -> Tensor:
        cells = (values - self.ordered[0]).mul_(self._per_unit)
        return cells.nan_to_num_(nan=_CELLS).clamp_(0, _CELLS - 1).to(torch.int32)

"""Sums of the losses over the rows of an epoch, taken without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Number of steps whose losses are kept before they are added up.
_FOLDED_STEPS = 256


class LossSums:
    """Sums each loss times the number of rows in its batch; all steps must name the same losses.

    On a CPU the losses of many steps are kept and added up at once, because the overhead of an
    addition per step matters for a small net. On a GPU each step adds to the same memory, so that a
    step in a CUDA graph adds again when it is replayed.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._kept: list[Tensor] = []
        self._rows: list[int] = []
        self._total: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the losses; empty before the first `add`."""
        return self._names

    def add(self, means: Mapping[str, Tensor], rows: int) -> None:
        """Adds the losses of a batch.

        Args:
            means: The mean losses by name, each of shape ().
            rows: Number of rows in the batch.
        """
        self._names = tuple(means)
        values = [value.detach() for value in means.values()]
        if values[0].is_cuda:
            self._add_in_place(values, rows)
            return
        self._kept += values
        self._rows.append(rows)
        if len(self._rows) == _FOLDED_STEPS:
            self._fold()

    def totals(self) -> dict[str, Tensor]:
        """Returns the sums by name, with the number of `rows`, as float64 tensors of shape ().

        The result is empty before the first `add`.
        """
        self._fold()
        if self._total is None:
            return {}
        return dict(zip((*self._names, "rows"), self._total.clone().unbind(), strict=True))

    def pop(self) -> dict[str, Tensor]:
        """Returns `totals` and resets the sums."""
        totals = self.totals()
        if self._total is not None and self._total.is_cuda:
            self._total.zero_()  # the same memory, which a CUDA graph adds to
        else:
            self._total = None
        return totals

    def load(self, totals: Mapping[str, float], device: torch.device) -> None:
        """Restores the totals of an earlier process; does nothing if they are empty."""
        if totals:
            self._names = tuple(name for name in totals if name != "rows")
            values = [totals[name] for name in (*self._names, "rows")]
            self._total = torch.tensor(values, dtype=torch.float64, device=device)

    def _add_in_place(self, values: list[Tensor], rows: int) -> None:
        means = torch.stack([*values, torch.ones_like(values[0])])
        if self._total is None:
            self._total = torch.zeros(len(means), dtype=torch.float64, device=means.device)
        self._total.add_(means, alpha=rows)

    def _fold(self) -> None:
        """Adds the kept losses to the total."""
        if not self._rows:
            return
        rows = torch.tensor(self._rows, dtype=torch.float64)
        kept = torch.stack(self._kept).double().view(len(rows), -1)
        folded = torch.cat([rows @ kept, rows.sum().view(1)])
        self._total = folded if self._total is None else self._total + folded
        self._kept, self._rows = [], []


def per_row(totals: Mapping[str, float]) -> dict[str, float]:
    """Returns the mean losses by name: each sum divided by `rows`."""
    return {name: total / totals["rows"] for name, total in totals.items() if name != "rows"}

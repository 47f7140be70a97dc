"""Losses summed over the rows of an epoch, without waiting for the device that computes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Steps whose losses are kept one by one.
_FOLDED_STEPS = 256


class LossSums:
    """Sums each loss times the rows that it is the mean of; all steps name the same losses.

    On a CPU the numbers of many steps are kept and added up at once: for a small net an addition
    takes longer than it computes. On a GPU each step adds to the same memory, so that a step in a
    CUDA graph adds again when it is replayed.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._kept: list[Tensor] = []
        self._rows: list[int] = []
        self._total: Tensor | None = None

    def add(self, means: Mapping[str, Tensor], rows: int) -> None:
        """Adds the losses of a batch.

        Args:
            means: The losses by name, each of shape ().
            rows: How many rows they are the means of.
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
        """Returns the sums by name, and `rows`; each float64, shape (). Empty before any `add`."""
        self._fold()
        if self._total is None:
            return {}
        return dict(zip((*self._names, "rows"), self._total.clone().unbind(), strict=True))

    def pop(self) -> dict[str, Tensor]:
        """Returns `totals` and begins anew."""
        totals = self.totals()
        if self._total is not None and self._total.is_cuda:
            self._total.zero_()  # the same memory, which a CUDA graph adds to
        else:
            self._total = None
        return totals

    def load(self, totals: Mapping[str, float], device: torch.device) -> None:
        """Goes on from totals of an earlier process; no totals are a beginning."""
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
        """Adds the kept numbers to the total."""
        if not self._rows:
            return
        rows = torch.tensor(self._rows, dtype=torch.float64)
        kept = torch.stack(self._kept).double().view(len(rows), -1)
        folded = torch.cat([rows @ kept, rows.sum().view(1)])
        self._total = folded if self._total is None else self._total + folded
        self._kept, self._rows = [], []


def per_row(totals: Mapping[str, float]) -> dict[str, float]:
    """Returns the means of sums by name, which `rows` divides."""
    return {name: total / totals["rows"] for name, total in totals.items() if name != "rows"}

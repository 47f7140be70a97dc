"""Losses summed over the rows of an epoch, without waiting for the device that computes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Steps whose losses are kept one by one.
_FOLDED_STEPS = 256


class LossSums:
    """Each loss times the rows that it is the mean of, summed; all steps name the same losses.

    On a CPU the numbers of many steps are kept and added up at once: for a small net an addition
    takes longer than it computes. On a GPU each step adds to the same memory, so that a step that
    was recorded adds again when it is replayed.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._kept: list[Tensor] = []
        self._rows: list[int] = []
        self._total: Tensor | None = None

    def add(self, means: Mapping[str, Tensor], rows: int) -> None:
        """Takes in what a step found.

        Args:
            means: By name, each of shape ().
            rows: That they are the means of.
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

    def pop(self) -> dict[str, Tensor]:
        """The sums by name, and `rows`, each float64 of shape (); starts counting anew."""
        self._fold()
        if self._total is None:
            return {}
        sums = dict(zip((*self._names, "rows"), self._total.clone().unbind(), strict=True))
        if self._total.is_cuda:
            self._total.zero_()  # the same memory, which recorded steps add to
        else:
            self._total = None
        return sums

    def _add_in_place(self, values: list[Tensor], rows: int) -> None:
        """Adds to the total; all of it happens on the device."""
        means = torch.stack([*values, torch.ones_like(values[0])])
        if self._total is None:
            # Of a trainer that validates in inference mode it shall be reset outside.
            with torch.inference_mode(False):
                self._total = torch.zeros(len(means), dtype=torch.float64, device=means.device)
        self._total.add_(means, alpha=rows)

    def _fold(self) -> None:
        """The kept numbers into the total."""
        if not self._rows:
            return
        rows = torch.tensor(self._rows, dtype=torch.float64)
        kept = torch.stack(self._kept).double().view(len(rows), -1)
        folded = torch.cat([rows @ kept, rows.sum().view(1)])
        self._total = folded if self._total is None else self._total + folded
        self._kept, self._rows = [], []

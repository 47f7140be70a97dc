"""Rows: what every source becomes, and all that the rooms to the left ever see of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.data.provenance import Provenance
from isthmus.types import DataKind

Labels = NDArray[Any]
FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]


class Layout(Protocol):
    """The form rows came in: what is needed to name them, and to write others in the same form."""

    def take(self, kept: IndexArray) -> Layout:
        """The layout of only these rows, in this order."""

    def index(self) -> Mapping[str, NDArray[Any]]:
        """What names each row in a table of results: its number, its file, its first step.

        Returns:
            Columns of N entries each, by name.
        """

    def check_output(self, output: Path) -> None:
        """Refuses an output that `write` could not write.

        Raises:
            DataError: Naming the endings that are possible.
        """

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes values of shape (N, *row_shape) in this form."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in memory, ready to be split and scaled.

    Attributes:
        values: Shape (N, *row_shape), C-contiguous, in data units; finite, but for NaN where
            `DataSpec.missing` is "mean".
        kind: What a row is.
        layout: The form the rows came in.
        labels: Shape (N,), as read; never trained on.
        groups: Shape (N,). Rows of the same group fall in the same split; for audio, the file.
        starts: Shape (N,). First step of each window where rows are ordered in time; windows
            overlap, so they are split by time. `None` where rows have no order.
    """

    values: FloatArray
    kind: DataKind
    layout: Layout
    labels: Labels | None = None
    groups: IndexArray | None = None
    starts: IndexArray | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ordered(self) -> bool:
        """Whether time order matters, so that the split is by time."""
        return self.starts is not None

    def take(self, kept: IndexArray) -> Rows:
        """Only these rows, in this order."""
        return replace(
            self,
            values=np.ascontiguousarray(self.values[kept]),
            layout=self.layout.take(kept),
            labels=None if self.labels is None else self.labels[kept],
            groups=None if self.groups is None else self.groups[kept],
            starts=None if self.starts is None else self.starts[kept],
        )

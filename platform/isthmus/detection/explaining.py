"""Explains detected rows for `detect --explain`: in columns, and in pictures of the strangest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import HeldOutSample
from isthmus.data import Block, Provenance
from isthmus.data.outputs.output import whole_folder
from isthmus.execution.reference_rows import ReferenceRows
from isthmus.explanations import (
    Contributions,
    Strangest,
    TableFeatures,
    check_heatmaps,
    columns_of,
    has_heatmaps,
    write_heatmaps,
)
from isthmus.explanations.heatmaps import MOST_HEATMAPS
from isthmus.registry import Pair

Columns = Mapping[str, NDArray[Any]]
Explained = Callable[[Block, NDArray[np.float32]], Columns]
"""Returns the columns that explain a block of rows, given their scores."""


class Explaining:
    """Explains the rows of a detection while they pass."""

    def __init__(self, pair: Pair, held_out: HeldOutSample | None) -> None:
        """Learns from the held-out rows what is usual."""
        self.contributions = Contributions(pair, held_out)
        self._features = TableFeatures.of(self.contributions)
        self.strangest = Strangest(MOST_HEATMAPS)

    def columns(self, block: Block, scores: NDArray[np.float32]) -> Columns:
        """Returns the columns of a block that explain its rows, and remembers the strangest."""
        self.strangest.look(block, scores)
        return columns_of(self.contributions, self._features, block)


def _nothing(block: Block, scores: NDArray[np.float32]) -> Columns:
    return {}


@contextmanager
def explaining(
    pair: Pair, held_out: ReferenceRows, output: Path, provenance: Provenance, *, is_asked: bool
) -> Iterator[Explained]:
    """Yields a function that returns the columns that explain a block, given its scores.

    At the end, the pictures are written beside the output. A table's rows have no pictures; those
    of others are in a folder, which appears whole or not at all.

    Args:
        pair: The pair.
        held_out: Returns the pair's held-out rows, which tell what is usual.
        output: The path of the scores.
        provenance: The provenance of the scores.
        is_asked: Whether rows are to be explained; if not, there are no columns.

    Raises:
        DataError: If the folder holds anything but earlier pictures.
    """
    if not is_asked:
        yield _nothing
        return
    if not has_heatmaps(pair.manifest.plan.kind):
        yield Explaining(pair, held_out()).columns
        return
    with whole_folder(check_heatmaps(output), provenance) as folder:
        explains = Explaining(pair, held_out())
        yield explains.columns
        write_heatmaps(explains.contributions, explains.strangest.rows, folder)

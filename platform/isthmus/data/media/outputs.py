"""Writes rows that were read from files: as files of the same names, or as one array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.outputs.array_output import save_array
from isthmus.data.outputs.output import whole_file, whole_folder
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.rows import Block, FloatArray, WriteBlock, joined_columns
from isthmus.data.storage.files import Files
from isthmus.types import Shape


@contextmanager
def whole_targets(files: Files, output: Path, provenance: Provenance) -> Iterator[list[Path]]:
    """Gives the path to write to in the place of each file; on success all appear as `output`.

    Raises:
        DataError: If the place cannot be written to.
    """
    if files.is_folder:
        with whole_folder(output, provenance) as folder:
            targets = [folder / name for name in files.names]
            for parent in {target.parent for target in targets}:
                parent.mkdir(parents=True, exist_ok=True)
            yield targets
    else:
        with whole_file(output, provenance) as temporary:
            yield [temporary]


@contextmanager
def open_array(
    output: Path, provenance: Provenance, count: int, row_shape: Shape
) -> Iterator[WriteBlock]:
    """Gives a function that takes rows, which are written at the end, as `x`, as they are.

    The columns that name the rows lie beside them in an npz.

    Args:
        output: An npz or npy.
        provenance: The provenance of the rows.
        count: The most rows there can be.
        row_shape: The shape of one.

    Raises:
        DataError: If the place cannot be written to.
    """
    rows = np.empty((count, *row_shape), dtype=np.float32)
    indexes: list[Mapping[str, NDArray[Any]]] = []
    filled = 0

    def write(block: Block, values: FloatArray) -> None:
        nonlocal filled
        rows[filled : filled + len(values)] = values
        filled += len(values)
        indexes.append(block.index)

    yield write
    save_array(rows[:filled], "x", output, provenance, joined_columns(indexes))

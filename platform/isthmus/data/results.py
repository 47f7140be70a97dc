"""Results in files: reconstructions in the form of the input, scores as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.array_layout import save_npz
from isthmus.data.output import check_ending
from isthmus.data.provenance import Provenance
from isthmus.data.rows import FloatArray, Rows

TABLE_OUTPUT_ENDINGS = (".csv", ".parquet", ".npz")
Columns = Mapping[str, NDArray[Any]]
AppendColumns = Callable[[Columns], None]


def check_reconstructions_output(rows: Rows, output: Path) -> None:
    """Refuses an output that `write_reconstructions` could not write: ask before the work.

    Raises:
        DataError: Naming the endings that are possible, or the folder that is in use.
    """
    rows.layout.check_output(output)


def write_reconstructions(
    rows: Rows, values: FloatArray, output: Path, provenance: Provenance
) -> None:
    """Writes values in the form that the rows came in, or by the output's ending.

    Args:
        rows: The input that the values were made from.
        values: Shape (N, *row_shape), in data units.
        output: A file, or a folder for a folder of images or audio.
        provenance: What made the values; goes beside the output and, where it can, inside.

    Raises:
        DataError: If the output cannot be written.
    """
    if values.shape != rows.values.shape:
        raise ValueError(f"values have shape {values.shape}, the rows {rows.values.shape}")
    rows.layout.write(np.asarray(values, dtype=np.float32), output, provenance)


def check_table_output(output: Path) -> None:
    """Refuses an output that `write_table` could not write: ask before the work.

    Raises:
        DataError: Naming the endings that are possible.
    """
    check_ending(output, TABLE_OUTPUT_ENDINGS, "a table of results")


@contextmanager
def open_results(output: Path, provenance: Provenance) -> Iterator[AppendColumns]:
    """Gives a function that appends columns of equal length to csv, parquet or npz, by the ending.

    The file appears when all are written, and not at all if an error comes first; an npz is
    written at the end.

    Raises:
        DataError: If the output cannot be written.
    """
    check_table_output(output)
    if output.suffix.lower() == ".npz":
        parts: list[Columns] = []
        yield parts.append
        names = parts[0] if parts else {}
        columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        save_npz(columns, output, provenance)
        return
    import pyarrow as pa

    from isthmus.data.table_output import open_table

    with open_table(output, provenance) as append:
        yield lambda columns: append(pa.table(dict(columns)))


def write_table(columns: Columns, output: Path, provenance: Provenance) -> None:
    """Writes columns of equal length, as `open_results`."""
    with open_results(output, provenance) as append:
        append(columns)

"""Tables of results, such as scores: csv, parquet, feather or npz."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.outputs.array_output import save_npz
from isthmus.data.outputs.output import check_ending
from isthmus.data.outputs.provenance import Provenance

RESULT_ENDINGS = (".csv", ".csv.gz", ".parquet", ".feather", ".npz")
Columns = Mapping[str, NDArray[Any]]
AppendColumns = Callable[[Columns], None]


def table_beside(output: Path, name: str) -> Path:
    """Returns the path of a table that lies beside an output: `OUTPUT.ranges.csv`."""
    return output.with_name(f"{output.name}.{name}.csv")


def check_table_output(output: Path) -> None:
    """Refuses an output that `write_table` could not write: ask before the work.

    Raises:
        DataError: Naming the endings that are possible.
    """
    check_ending(output, RESULT_ENDINGS, "a table of results")


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

    from isthmus.data.outputs.table_output import open_table_output

    with open_table_output(output, provenance) as append:
        yield lambda columns: append(
            pa.table({name: as_arrow(column) for name, column in columns.items()})
        )


def as_arrow(column: NDArray[Any]) -> Any:
    """Returns a column for pyarrow; one value that is seen many times is repeated by it.

    Masked values are empty. Rows of several numbers become lists of one fixed size.
    """
    import pyarrow as pa

    if column.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), column.shape[1])
    if isinstance(column, np.ma.MaskedArray):
        return pa.array(column.data, mask=np.ma.getmaskarray(column))

    if len(column) and column.strides == (0,):
        return pa.repeat(pa.scalar(column[0].item()), len(column))
    return pa.array(column)


def write_table(columns: Columns, output: Path, provenance: Provenance) -> None:
    """Writes columns of equal length, as `open_results`."""
    with open_results(output, provenance) as append:
        append(columns)

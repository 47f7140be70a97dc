"""Searches an index for the rows that are most like those of a file.

Shapes: z_QD are the latents of Q rows that are looked for; each has K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import UseOptions, check_table_output, open_results
from isthmus.data.outputs.results import AppendColumns, Columns
from isthmus.data.rows import joined_columns
from isthmus.embedding.index import LatentIndex, Metric
from isthmus.errors import UsageError
from isthmus.execution.blocks import OnRows
from isthmus.execution.destinations import destination
from isthmus.execution.inputs import refuse_replaced_input
from isthmus.execution.provenance import provenance_of
from isthmus.execution.task import Task
from isthmus.registry import Device, load
from isthmus.spec import Settings

# More results than this are only written to a file.
_MOST_IN_MEMORY = 1_000_000
_OF_NEIGHBOUR = "neighbour_"


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        rows: Number of rows whose neighbours were looked for.
        k: Number of neighbours of each.
        metric: The measure of distance.
        model: The name and version of the pair, `digits/3`.
        pair_id: The id of the pair.
        output: The path of the table of the neighbours, or its address in S3, if one was asked for.
        columns: The columns of the table, where it is in no file: what names the row, `rank` from
            1, what names the neighbour in the indexed input, beginning with `neighbour_`, and
            `distance`.
    """

    rows: int
    k: int
    metric: Metric
    model: str
    pair_id: str
    output: Path | str | None
    columns: dict[str, NDArray[Any]]


def search(
    index: str | Path,
    source: str,
    settings: Settings,
    on_rows: OnRows | None = None,
    *,
    k: int = 10,
    metric: Metric | None = None,
    model: str | None = None,
    output: str | Path | None = None,
    device: Device = "auto",
) -> SearchResult:
    """Finds the indexed rows that are nearest to the rows of a file, in the space of the latents.

    Args:
        index: The folder that `isthmus embed --index` wrote, local or `s3://`.
        source: The rows to look for: a file, folder or glob; local or `s3://`.
        settings: The settings with the address of the registry.
        on_rows: Called with (rows done, all rows) during the work.
        k: The number of neighbours of each row.
        metric: `l2` or `cosine`; by default, the index's own.
        model: The pair that encodes the rows; by default, the one in whose space the index is.
        output: A csv, parquet or npz for the neighbours, local or `s3://`, which appears whole or
            not at all.
        device: The device that the pair computes on.

    Raises:
        UsageError: If `k` is less than 1, if the index cannot measure by such a metric, or if there
            is too much to return.
        DataError: If there is no whole index, or if the file does not hold such rows.
        ModelNotFound: If there is no such pair.
        RegistryError: If the index is of another pair.
    """
    if k < 1:
        raise UsageError(f"k={k} finds nothing; choose 1 or more")
    if output is not None:
        check_table_output(Path(output))
        refuse_replaced_input(source, output)
    opened = LatentIndex(index).measuring(metric)
    pair = load(model or opened.space, settings, device)
    opened.refuse_other(pair)
    with nullcontext() if output is None else destination(output) as place:
        task = Task(pair, source, place.path if place else Path(), UseOptions(), on_rows)
        kept: list[Columns] = []
        rows = 0
        with _results(task, opened, kept, in_file=place is not None) as append:
            for columns, count in _found(task, opened, k):
                rows += count
                if place is None and rows * k > _MOST_IN_MEMORY:
                    raise UsageError(
                        f"{source}: has more than {rows:,} rows with {k} neighbours each; add "
                        "--output FILE to write them to a table"
                    )
                append(columns)
        if place is not None:
            place.publish()
    return SearchResult(
        rows=rows,
        k=min(k, len(opened)),
        metric=opened.metric,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
        output=place.final if place else None,
        columns=joined_columns(kept),
    )


def _results(
    task: Task, index: LatentIndex, kept: list[Columns], *, in_file: bool
) -> AbstractContextManager[AppendColumns]:
    """Returns a context whose function takes columns: to the file, or to `kept` without one."""
    if not in_file:
        return nullcontext(kept.append)
    said = {"index": index.name, "metric": index.metric, "space": index.space}
    return open_results(task.output, provenance_of(task.pair, task.source, job="search", **said))


def _found(task: Task, index: LatentIndex, k: int) -> Iterator[tuple[Columns, int]]:
    """Yields the columns of the neighbours of each block of rows, and the number of its rows."""
    source = task.open()
    with closing(task.blocks(source)) as blocks:
        for block, on_rows in blocks:
            z_QD = task.pair.encode(block.values, on_rows=on_rows, as_read=True).values
            near = index.nearest(z_QD, k)
            each = near.positions_QK.shape[1]
            columns = {name: np.repeat(column, each) for name, column in block.index.items()}
            columns["rank"] = np.tile(np.arange(1, each + 1), len(z_QD))
            for name, column in index.names(near.positions_QK.ravel()).items():
                columns[f"{_OF_NEIGHBOUR}{name}"] = column
            columns["distance"] = near.distances_QK.ravel()
            yield columns, len(z_QD)

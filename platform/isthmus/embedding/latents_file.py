"""Tables of latents: what names each row, and its latent as one column or as several.

Shapes: z_ND are the latents of N rows; p_N2 are their places on a map.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from isthmus.data import Provenance, open_results
from isthmus.data.outputs.array_output import open_npz
from isthmus.data.outputs.results import AppendColumns, Columns
from isthmus.data.rows import joined_columns
from isthmus.data.storage.files import ending_of
from isthmus.embedding.index import Metric, check_index, index_path, write_index
from isthmus.embedding.plane import (
    MAP_COLUMNS,
    Method,
    Plane,
    check_method,
    draw,
    fit_plane,
    picture_path,
)
from isthmus.embedding.spool import LATENT, Spool, Spooled, open_spool
from isthmus.errors import UsageError

Layout = Literal["auto", "list", "columns"]


@dataclass(frozen=True)
class LatentsAsked:
    """The options of a file of latents: its layout, and the map and index beside it.

    Attributes:
        layout: `list` is one column of lists of one size, `columns` is a column for each number of
            a latent, `z0` and so on. `auto` is columns in a csv, which has no lists, and else a
            list.
        map: The method that maps latents to two dimensions, to a picture beside the table and two
            columns in it; `None` for no map.
        index: Whether an index of nearest neighbours is written beside the table.
        metric: The index's measure of distance.
    """

    layout: Layout = "auto"
    map: Method | None = None
    index: bool = False
    metric: Metric = "l2"

    def check(self, output: Path) -> None:
        """Refuses what could not be written, before the work.

        Raises:
            UsageError: If a csv is to hold lists, or a library is missing.
            DataError: If something else has the name of the index.
        """
        ending = ending_of(output.name)
        if self.layout == "list" and ending.startswith(".csv"):
            raise UsageError(
                f"{output}: a csv has no lists; use --layout columns, or write a .parquet"
            )
        if self.layout == "columns" and ending == ".npz":
            raise UsageError(
                f"{output}: an npz holds latents as one array; leave out --layout, or write a "
                ".parquet"
            )
        if self.map is not None:
            check_method(self.map)
        if self.index:
            check_index(output, self.metric)

    def as_columns(self, output: Path) -> bool:
        """Returns whether each number of a latent has a column of its own."""
        if self.layout == "auto":
            return ending_of(output.name).startswith(".csv")
        return self.layout == "columns"


@contextmanager
def open_latents(
    output: Path, provenance: Provenance, asked: LatentsAsked
) -> Iterator[AppendColumns]:
    """Yields a function that appends rows to a csv, parquet, feather or npz, by the ending.

    It takes columns, of which `latent` has the shape (N, D). Without a map and an index, rows are
    written as they come. Else they are written to a
    temporary file first, since both are made of all of them. The table, its map and its index
    appear when all are written, and not at all if an error comes first.

    Raises:
        DataError: If the output cannot be written, or there is nothing to make a map or an index
            of.
    """
    if asked.map is None and not asked.index:
        with _open_table(output, provenance, as_columns=asked.as_columns(output)) as append:
            yield append
        return
    with open_spool(output) as spool:
        yield spool.add
        _write_all(spool, output, provenance, asked)


def _write_all(spool: Spool, output: Path, provenance: Provenance, asked: LatentsAsked) -> None:
    latents = spool.finish()
    plane = None if asked.map is None else fit_plane(asked.map, latents)
    # The table last: when it is there, so is the rest.
    with _open_table(output, provenance, as_columns=asked.as_columns(output)) as append:
        for columns in _columns_of(latents, plane):
            append(columns)
        if asked.index:
            write_index(latents, index_path(output), asked.metric, provenance)
        if plane is not None:
            draw(plane, latents, picture_path(output), provenance)


def _columns_of(latents: Spooled, plane: Plane | None) -> Iterator[Columns]:
    for names, z_ND in latents.parts():
        columns: dict[str, NDArray[Any]] = {
            name: names.column(name).to_numpy() for name in names.column_names
        }
        columns[LATENT] = z_ND
        if plane is not None:
            p_N2 = plane.places(z_ND)
            columns |= {name: p_N2[:, axis] for axis, name in enumerate(MAP_COLUMNS)}
        yield columns


@contextmanager
def _open_table(
    output: Path, provenance: Provenance, *, as_columns: bool
) -> Iterator[AppendColumns]:
    """Yields a function that appends columns, of which `latent` has two axes."""
    if ending_of(output.name) == ".npz":
        with _open_npz(output, provenance) as append:
            yield append
        return
    with open_results(output, provenance) as append:
        yield (lambda columns: append(in_columns(columns))) if as_columns else append


def in_columns(columns: Columns) -> Columns:
    """Returns columns in which each number of a latent has its own: z0, z1 and so on."""
    found: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if name == LATENT:
            found |= {f"z{number}": values for number, values in enumerate(column.T)}
        else:
            found[name] = column
    return found


@contextmanager
def _open_npz(output: Path, provenance: Provenance) -> Iterator[AppendColumns]:
    """Yields a function that appends latents to the file; the other columns wait for its end."""
    others: list[Columns] = []
    with open_npz(LATENT, output, provenance, lambda: joined_columns(others)) as append:

        def append_columns(columns: Columns) -> None:
            others.append({name: each for name, each in columns.items() if name != LATENT})
            append(columns[LATENT])

        yield append_columns

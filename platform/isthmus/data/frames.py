"""Frames of pandas, polars, Arrow and others: read as a file is, and results in the same form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.feather as feather
from narwhals.exceptions import DuplicateError

from isthmus.data.columns.units import UNIT_KEY, units_of_attrs, units_of_fields
from isthmus.data.storage.files import Files
from isthmus.data.storage.memory_folder import folder_in_memory
from isthmus.errors import DataError, first_line

CALLED = "frame"
"""The name of a frame in messages, where they would otherwise name a file."""

_WRITTEN = ("period", "interval")
_NOT_READ = ("Sparse", "complex")
_NOT_READ_ADVICE = "convert it to plain numbers (a sparse one with .sparse.to_dense())"


class Frame:
    """Rows with named columns, in whichever library's form they came."""

    def __init__(self, native: Any) -> None:
        """Wraps a frame.

        Raises:
            DataError: If two columns have the same name.
        """
        try:
            found = nw.from_native(native, eager_only=True, pass_through=True)
            if not isinstance(found, nw.DataFrame):  # another library, with Arrow's interface
                found = nw.from_native(pa.table(native), eager_only=True)
            self._frame = found
            self.columns = tuple(str(name) for name in found.columns)
        except (DuplicateError, ValueError) as error:
            _refuse_twice([str(name) for name in _names_of(native)])
            raise DataError(f"{CALLED}: {first_line(error)}; rename columns") from error
        _refuse_twice(self.columns)  # pandas tells 3 from "3"
        self._units = (
            units_of_fields(native.schema)
            if isinstance(native, pa.Table)
            else units_of_attrs(getattr(native, "attrs", None))
        )

    @property
    def has_numbers_for_names(self) -> bool:
        """Whether the columns were never named, and are just counted."""
        return self.columns == tuple(str(number) for number in range(len(self.columns)))

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns columns as a table of Arrow's plain types with their units; by default, all.

        Raises:
            DataError: If a column mixes types, such as numbers and texts.
        """
        names = self.columns if columns is None else columns
        # pandas' names may be numbers, and Arrow's are texts.
        own = zip(self._own(names), names, strict=True)
        chosen = self._frame.select([column.alias(name) for column, name in own])
        kinds = _kinds_of_pandas(chosen)
        # Arrow would have a period as a count of periods, and an interval as a mapping.
        written = [
            nw.col(name).cast(nw.String)
            for name, kind in kinds.items()
            if kind.startswith(_WRITTEN)
        ]
        try:
            table = chosen.with_columns(written).to_arrow()
        except (pa.ArrowException, TypeError, ValueError) as error:
            for name, kind in kinds.items():
                if kind.startswith(_NOT_READ):
                    raise DataError(
                        f'{CALLED}: column "{name}" is of pandas\' type {kind}, which cannot be '
                        f"read; {_NOT_READ_ADVICE}"
                    ) from error
            raise DataError(
                f"{CALLED}: a column mixes types ({first_line(error)}); convert it to one"
            ) from error
        # An index of pandas' comes as a column too.
        table = table.select(names)
        return table.cast(
            pa.schema([_plain(each, self._units.get(each.name)) for each in table.schema])
        )

    def replaced(self, columns: pa.Table) -> Any:
        """Returns the frame with other values in some of its columns, in the same library."""
        return self._with(self._frame, columns)

    def beside(self, kept: Sequence[str], columns: pa.Table) -> Any:
        """Returns some columns of the frame with new ones behind them, in the same library.

        The new columns have a line for each row of the frame, whose index they get.

        Raises:
            DataError: If a new column is called like one that is kept.
        """
        twice = [name for name in kept if name in columns.column_names]
        if twice:
            raise DataError(
                f"{CALLED}: has {_listed(twice)}, and so has the result; rename what the frame "
                "has, or give the frame without it"
            )
        return self._with(self._frame.select(self._own(kept)), columns)

    def alike(self, table: pa.Table) -> Any:
        """Returns a table, whose lines are not the frame's, in the form of the frame's library."""
        return self._like(table).to_native()

    def _with(self, frame: Any, columns: pa.Table) -> Any:
        made, index = self._like(columns), nw.maybe_get_index(self._frame)
        if index is not None:
            made.to_native().index = index
        if not frame.columns:
            return made.to_native()
        own = dict(zip(map(str, frame.columns), frame.columns, strict=True))
        named = (made[name].alias(own.get(name, name)) for name in made.columns)
        return frame.with_columns(named).to_native()

    def _like(self, table: pa.Table) -> Any:
        return nw.from_arrow(table, backend=self._frame.implementation)

    def _own(self, columns: Sequence[str]) -> list[Any]:
        """Returns the frame's own columns of these names: pandas' may be numbers."""
        own = dict(zip(self.columns, self._frame.columns, strict=True))
        return [nw.col(own[name]) for name in columns]


@contextmanager
def as_file(table: pa.Table) -> Iterator[Files]:
    """Gives the columns of a frame as a file, so that they are read with a file's checks."""
    with folder_in_memory("isthmus-frame-", table.nbytes) as folder:
        path = folder / f"{CALLED}.feather"
        feather.write_feather(table, str(path), compression="uncompressed")
        yield Files(CALLED, (path.name,), (str(path),), is_folder=False)


def _plain(field: pa.Field, unit: str | None) -> pa.Field:
    """Returns a field with a type that files of tables have, and with its unit."""
    kind, types = field.type, pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string_view(kind) or types.is_large_string(kind):
        kind = pa.string()
    return pa.field(field.name, kind, metadata=None if unit is None else {UNIT_KEY: unit})


def _kinds_of_pandas(frame: nw.DataFrame[Any]) -> dict[str, str]:
    """Returns the types of the columns as pandas names them; nothing of other libraries."""
    if not frame.implementation.is_pandas():
        return {}
    native = frame.to_native()
    return {str(name): str(kind) for name, kind in native.dtypes.items()}


def _refuse_twice(names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"{CALLED}: more than one column is called {_listed(twice)}; rename columns"
        )


def _names_of(native: Any) -> Sequence[object]:
    """Returns the names of a frame's columns; `columns` of a table of Arrow are their values."""
    names: Sequence[object] = (
        native.column_names if isinstance(native, pa.Table) else native.columns
    )
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)

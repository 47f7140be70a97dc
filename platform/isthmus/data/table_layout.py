"""The form of rows that came from a csv or parquet, and how results take their place in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.data.array_layout import as_dtype, save_array
from isthmus.data.categories import Expansion
from isthmus.data.output import check_ending
from isthmus.data.provenance import Provenance
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.storage import ARRAY_ENDINGS, TABLE_ENDINGS, Source
from isthmus.data.table_output import save_table
from isthmus.data.tables import column_names, read_arrow, read_header, read_schema
from isthmus.errors import DataError


@dataclass(frozen=True, eq=False)
class TableForm:
    """A file's columns, some of which results replace.

    Attributes:
        source: The file.
        columns: The columns that the rows hold; results replace these.
        expansion: How they became features, if some are categories.
    """

    source: Source
    columns: tuple[str, ...]
    expansion: Expansion | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of a row's numbers."""
        return self.expansion.features if self.expansion else self.columns

    @property
    def delimiter(self) -> str:
        """What stands between two cells of a csv of results: the same as in the file."""
        return "," if self.source.ending == ".parquet" else read_header(self.source)[1]

    def check_output(self, output: Path) -> None:
        """Refuses an ending that is neither a table's nor an array's."""
        check_ending(output, (*TABLE_ENDINGS, *ARRAY_ENDINGS), "rows of a table")

    def others(self) -> list[str]:
        """The columns that results leave as they are."""
        return [name for name in column_names(self.source) if name not in self.columns]

    def schema(self) -> pa.Schema | None:
        """The file's types, if it says them."""
        return read_schema(self.source) if self.source.ending == ".parquet" else None

    def fill(self, values: FloatArray, carried: pa.Table, schema: pa.Schema | None) -> pa.Table:
        """The file's columns with values of shape (N, F) in place of those that the rows hold.

        Args:
            values: Shape (N, F).
            carried: N rows of `others()`.
            schema: As `schema()` gives it.
        """
        filled = (self.expansion or Expansion(self.columns, {})).collapse(values)
        columns: dict[str, object] = {}
        for name in column_names(self.source) if schema is None else schema.names:
            if name not in self.columns:
                columns[name] = carried.column(name)
                continue
            column: NDArray[Any] = filled[name]
            is_category = self.expansion is not None and name in self.expansion.values
            if schema and not is_category and pa.types.is_floating(schema.field(name).type):
                column = as_dtype(column, np.dtype(schema.field(name).type.to_pandas_dtype()))
            columns[name] = pa.array(column)
        return pa.table(columns, metadata=None if schema is None else schema.metadata)


@dataclass(frozen=True, eq=False)
class TableLayout:
    """Rows that came from a csv or parquet: the other columns are carried along in their place.

    Attributes:
        form: The file, read once more when results are written, and its columns.
        kept: Shape (N,). Numbers of the rows, counted from 0.
        total: How many rows the file has.
    """

    form: TableForm
    kept: IndexArray
    total: int

    def take(self, kept: IndexArray) -> TableLayout:
        """The layout of only these rows."""
        return replace(self, kept=self.kept[kept])

    def index(self) -> Mapping[str, NDArray[Any]]:
        """`row`: the number of each row, counted from 0, the header not counted."""
        return {"row": self.kept}

    def check_output(self, output: Path) -> None:
        """Refuses an ending that is neither a table's nor an array's."""
        self.form.check_output(output)

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes the values of shape (N, F) in place of the columns they came from."""
        self.check_output(output)
        form = self.form
        if output.suffix.lower() in ARRAY_ENDINGS:
            save_array(values, "x", output, provenance, {"columns": np.array(form.features)})
            return
        table = form.fill(values, self._carried(), form.schema())
        save_table(table, output, provenance, form.delimiter)

    def _carried(self) -> pa.Table:
        others = self.form.others()
        if not others:
            return pa.table({})
        carried = read_arrow(self.form.source, others, as_text=True)
        if carried.num_rows != self.total:
            raise DataError(f"{self.form.source.name}: changed while it was in use; run again")
        return carried if len(self.kept) == self.total else carried.take(pa.array(self.kept))

"""The rows of one table, read and written a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.data.columns.categories import Expansion, UnknownValues, without_signs
from isthmus.data.columns.chosen import column_names, refuse_absent
from isthmus.data.columns.quality import MissingInBlocks
from isthmus.data.columns.units import units_of_features, warn_of_units
from isthmus.data.outputs.array_output import as_dtype, save_array
from isthmus.data.outputs.output import (
    ARRAY_OUTPUT_ENDINGS,
    TABLE_OUTPUT_ENDINGS,
    check_ending,
    is_array_output,
)
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.outputs.table_output import CsvStyle, open_table_output
from isthmus.data.prepared.centring import restored
from isthmus.data.rows import Block, FloatArray, IndexArray, Labels, WriteBlock, rows_in_a_block
from isthmus.data.storage.files import ending_of
from isthmus.data.tables import TableFormat, is_numeric, open_table, refuse_no_rows
from isthmus.errors import DataError, nearest
from isthmus.spec import DataSpec, RowSchema

if TYPE_CHECKING:
    from isthmus.data.columns.refusals import ColumnsRefused

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class TableRows:
    """The rows of one table; any process can have it, because what travels is an address.

    Attributes:
        address: The file, local or `s3://`, or the URL of a database.
        name: The name for messages.
        spec: The data section: how numbers are written, what is done with missing values.
        columns: The columns that the rows hold; results replace these.
        schema: The schema of the rows.
        expansion: The rule by which columns become features, if some are categories.
        keys: The columns that the folders of the file say, `{"year": "2024"}`.
        extra: Further columns to be carried in the index of each block as they are: a time, an id.
        has_labels: Whether to read the labels.
        first: The table whose columns these are, if this is not the first of several.
        opened: The open table, if somebody has looked at it already.
        sets_aside: Whether rows that cannot be read are set aside instead of refused.
    """

    address: str
    name: str
    spec: DataSpec
    columns: tuple[str, ...]
    schema: RowSchema
    expansion: Expansion | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    has_labels: bool = False
    first: str | None = None
    opened: TableFormat | None = None
    sets_aside: bool = False

    @cached_property
    def table(self) -> TableFormat:
        """The open table, of whose units is warned once; one in S3 is copied to the cache."""
        table = self.opened or open_address(self.address, self.name, self.spec)
        stated = dict(table.units())
        for name in self.spec.units if self.has_labels else ():
            stated.pop(name, None)  # in training, the unit of the job is what counts
        warn_of_units(units_of_features(stated, self.schema.features), self.schema, self.name)
        return table

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "table"}
        return {**kept, "opened": None}

    @cached_property
    def count(self) -> int | None:
        """The number of rows, if the file says it; it is asked once."""
        return self.table.count()

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows; see `RowSource.blocks`.

        Raises:
            DataError: If rows cannot be read, or cannot be trained on as they are. If several
                columns cannot be trained on, the error tells all of them.
        """
        self.table.refuse_header(self._numbers_of_file)
        try:
            yield from self._blocks(carry=carry)
        except DataError as error:
            refused = self._refused() if self.has_labels else None
            if refused is None or len(refused.refusals) < 2:
                raise
            raise refused from error

    def _refused(self) -> ColumnsRefused | None:
        """Returns all that is wrong with the columns of numbers, as far as can be read."""
        from isthmus.data.columns.refusals import refusals_of  # it loads pandas

        try:
            return refusals_of(self.table, self._numbers_of_file, self.name, self.spec)
        except DataError:
            return None  # the table is damaged, which the first error tells

    @property
    def _numbers_of_file(self) -> list[str]:
        columns = self.expansion.numeric if self.expansion else self.columns
        return [name for name in columns if name not in self.keys]

    def _blocks(self, *, carry: bool) -> Iterator[Block]:
        table, names = self._checked()
        expansion = self.expansion
        numbers = list(expansion.numeric if expansion else self.columns)
        categories = list(expansion.values) if expansion else []
        labels = [self.spec.labels] if self.has_labels and self.spec.labels else []
        others = [name for name in names if name not in self.columns] if carry else []
        texts = dict.fromkeys([*categories, *labels, *self.extra])
        missing = self._missing()
        unknown = UnknownValues(expansion, self.name) if expansion else None
        of_file = self._numbers_of_file
        label_type = table.schema().field(labels[0]).type if labels and not self.keys else None
        done = 0
        for batch in (table.readable if self.sets_aside else table.numbered)(
            of_file,
            [name for name in texts if name not in self.keys and name not in others],
            rows_in_a_block(self.schema.shape[:1]),
            [name for name in others if name not in self.keys],
        ):
            part = self._with_keys(batch.table, of_file)
            values = floats(part, numbers, self._centre_of_numbers(numbers))
            reasons = None
            if expansion and unknown:
                columns = {
                    name: without_signs(
                        texts_of(part.column(name)), self.spec.missing_values, values
                    )
                    for name, values in expansion.values.items()
                }
                values = expansion.expand(values, columns)
                reasons = unknown.reasons(values, columns)
            block = Block(
                values,
                {
                    "row": batch.numbers,
                    **{name: texts_of(part.column(name)) for name in self.extra},
                },
                labels=as_labels(part.column(labels[0]), label_type) if labels else None,
                reasons=reasons,
                carried=part.select(others) if carry else None,
                rejected=batch.rejected,
            )
            done += part.num_rows + len(batch.rejected)
            block = missing.applied(block)
            if len(block.values) or block.rejected:
                yield block
        refuse_no_rows(self.name, done)
        missing.finish()
        if unknown:
            unknown.report()

    def extra_of(self, rows: IndexArray) -> dict[int, dict[str, str]]:
        """Returns the cells of the extra columns in some rows whose numbers cannot be read.

        Args:
            rows: The numbers of the rows.

        Returns:
            The cells by the name of their column, for each row whose columns can be told apart.
        """
        found: dict[int, dict[str, str]] = {}
        at_once = rows_in_a_block((max(1, len(self.extra)),))
        of_file = [name for name in self.extra if name not in self.keys]
        for batch in self.table.readable([], of_file, at_once):
            is_wanted = np.isin(batch.numbers, rows)
            part = self._with_keys(batch.table.filter(pa.array(is_wanted)), [])
            columns = [texts_of(part.column(name)).tolist() for name in self.extra]
            for number, *cells in zip(batch.numbers[is_wanted].tolist(), *columns, strict=True):
                found[number] = dict(zip(self.extra, cells, strict=True))
        return found

    def _missing(self) -> MissingInBlocks:
        return MissingInBlocks(
            *(self.spec.missing, self.schema.features, self.name),
            is_part=self.first is not None,
            sets_aside=self.sets_aside,
        )

    def check_output(self, output: Path) -> None:
        """Refuses an ending that is neither a table's nor an array's."""
        endings = (*TABLE_OUTPUT_ENDINGS, *ARRAY_OUTPUT_ENDINGS)
        check_ending(output, endings, "rows of a table")

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes results in place of the columns; to npz and npy at the end, as one array."""
        if is_array_output(output):
            parts: list[NDArray[Any]] = []
            of_steps: dict[str, list[NDArray[Any]]] = {}

            def keep(block: Block, values: FloatArray) -> None:
                parts.append(restored(values, self.schema.centre))
                for field in ("time", "series_id"):
                    if (column := getattr(self.spec, field)) in self.extra:
                        of_steps.setdefault(field, []).append(block.index[column])

            yield keep
            beside = {field: np.concatenate(each) for field, each in of_steps.items()}
            beside["columns"] = np.array(self.schema.features)
            save_array(np.concatenate(parts), "x", output, provenance, beside)
            return
        table = self.table
        types, names = table.types(), column_names(table)
        with open_table_output(output, provenance, self._csv_style(table, output)) as append:
            yield lambda block, values: append(self._filled(values, block, names, types))

    def _filled(
        self, values: FloatArray, block: Block, names: Sequence[str], types: pa.Schema | None
    ) -> pa.Table:
        """Returns the table's columns, with values in place of those that the rows hold."""
        whole = restored(values, self.schema.centre)
        filled = (self.expansion or Expansion(self.columns, {})).collapse(whole)
        columns: dict[str, object] = {}
        for name in names:
            if name not in self.columns:
                columns[name] = (block.carried or {})[name]
                continue
            column: NDArray[Any] = filled[name]
            is_category = self.expansion is not None and name in self.expansion.values
            if types is not None and not is_category and _is_floating(types, name):
                column = as_dtype(column, np.dtype(types.field(name).type.to_pandas_dtype()))
            columns[name] = pa.array(column)
        made = pa.table(columns)
        if types is None:
            return made
        # Units and the like, which the metadata of the fields hold, go on to the results.
        known = {each.name: each.metadata for each in types}
        fields = [each.with_metadata(known.get(each.name)) for each in made.schema]
        return made.cast(pa.schema(fields, types.metadata))

    def _csv_style(self, table: TableFormat, output: Path) -> CsvStyle:
        """Returns how a csv is written that the data section can be read with."""
        is_tsv = ending_of(output.name).startswith(".tsv")
        return CsvStyle(
            delimiter=self.spec.delimiter or ("\t" if is_tsv else table.delimiter),
            decimal=self.spec.decimal,
            has_header=self.spec.header != "none",
            encoding=self.spec.encoding,
        )

    def _checked(self) -> tuple[TableFormat, list[str]]:
        table = self.table
        names = column_names(table, list(self.keys))
        of_steps = (("data.time", self.spec.time), ("data.series_id", self.spec.series_id))
        refuse_absent([(field, each) for field, each in of_steps if each in self.extra], names,
                      self.name)  # fmt: skip
        for column in self.columns:
            if column not in names:
                has = f", which {self.first} has" if self.first else ""
                told = nearest(column, names, "The file has")
                raise DataError(f'{self.name}: no column "{column}"{has}; {told}')
        return table, names

    def _with_keys(self, part: pa.Table, numbers: Sequence[str]) -> pa.Table:
        for name, value in self.keys.items():
            is_number = name in self.columns and not (
                self.expansion and name in self.expansion.values
            )
            column = pa.array([self._number(name) if is_number else value] * part.num_rows)
            part = part.append_column(name, column)
        return part

    def _number(self, key: str) -> float:
        try:
            return float(self.keys[key] or "nan")
        except ValueError:
            raise DataError(
                f'{self.name}: lies in the folder {key}={self.keys[key]}, and "{key}" is a number '
                "for the model; name the folder by one"
            ) from None

    def _centre_of_numbers(self, numbers: Sequence[str]) -> NDArray[np.float64] | None:
        if self.schema.centre is None:
            return None
        places = [(self.schema.features or ()).index(name) for name in numbers]
        return np.array(self.schema.centre)[places]


def open_address(address: str, name: str, spec: DataSpec) -> TableFormat:
    """Opens a table; one in S3 is copied to the cache of this machine first."""
    if address.startswith("s3://"):
        from isthmus.data.storage.s3 import fetch

        address = str(fetch([address])[0])
    return open_table(address, name, spec)


def floats(
    table: pa.Table, names: Sequence[str], centre: NDArray[np.float64] | None = None
) -> FloatArray:
    """Returns columns of numbers side by side, shape (N, len(names)); null is NaN.

    Args:
        table: The columns.
        names: The order of the columns.
        centre: Shape (len(names),). What is subtracted in float64, if anything is.
    """
    values = np.empty((table.num_rows, len(names)), dtype=np.float32)
    first = 0
    # Block by block, ten times faster than whole columns: the rows being filled stay in the cache.
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        block = values[first : first + batch.num_rows]
        with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
            for position, name in enumerate(names):
                column = doubles(batch.column(name))
                block[:, position] = column if centre is None else column - centre[position]
        first += batch.num_rows
    return values


def doubles(column: pa.Array) -> NDArray[Any]:
    """Returns a column of numbers in its own precision, shape (N,); null is NaN."""
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def texts_of(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Returns a column as texts, shape (N,); null is an empty text."""
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    filled = pc.fill_null(column, "")
    return np.array(filled.to_pylist(), dtype=np.str_)


def as_labels(column: pa.ChunkedArray, kind: pa.DataType | None) -> Labels:
    """Returns labels, shape (N,): numbers if the type of the column is a number's, else texts.

    An empty cell among numbers is NaN.
    """
    labels = texts_of(column)
    if kind is None or not is_numeric(kind):
        return labels
    is_empty = labels == ""
    try:
        numbers = np.where(is_empty, "nan", labels).astype(np.float64)
    except ValueError:
        return labels  # a text after a first block of numbers
    has_integers = pa.types.is_integer(kind) and not is_empty.any()
    return numbers.astype(np.int64) if has_integers else numbers


def _is_floating(types: pa.Schema, name: str) -> bool:
    return bool(pa.types.is_floating(types.field(name).type))

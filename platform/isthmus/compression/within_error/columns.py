"""Tables to bytes and back, with all columns: those with a maximum error, and all others exactly.

Numbers and times, and texts that are numbers or times, are coded by `bounded`; whether they are
there at all is a column of its own. What else there is becomes a parquet with zstd. So does the
whole table where that is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.compression import bounded
from isthmus.compression.bounded import FieldReader, FieldWriter, largest_error
from isthmus.compression.within_error.parquet_bytes import as_parquet, from_parquet
from isthmus.compression.within_error.written_numbers import Style, read_numbers, written
from isthmus.errors import DataError

Values = NDArray[Any]
Floats = NDArray[np.float64]

_CODED, _PARQUET = 1, 2  # the forms of a part
# A parquet that is quick to write and larger than this many times the coded part is no rival.
_WORTH_A_TRY = 1.5
PARQUET_WORDS = "parquet and zstd"


class RowPredictor(Protocol):
    """A model that predicts rows from few bytes, as a pair does."""

    def encode(self, rows: Floats) -> tuple[bytes, Floats]:
        """Returns the latents of rows (N, F) as bytes, and what they predict, (N, F)."""

    def decode(self, latents: bytes, rows: int) -> Floats:
        """Returns what latents predict for so many rows, (rows, F)."""


@dataclass(frozen=True)
class CodedPart:
    """A part of a table as bytes.

    Attributes:
        data: The bytes.
        predictors: The predictor of each column that is coded, by its name; the columns that
            are kept in a parquet are not there.
        largest_errors: The largest error of each column of numbers, by its name.
        is_parquet: Whether the whole part is a parquet, as that is smaller.
        decoded: The columns that the bytes decode to.
    """

    data: bytes
    predictors: Mapping[str, str]
    largest_errors: Mapping[str, float]
    is_parquet: bool
    decoded: pa.Table


@dataclass(frozen=True)
class TableCoder:
    """Codes the parts of a table.

    Attributes:
        schema: The names and types of its columns.
        max_errors: The largest error of columns, by their names; all others are exact.
        features: The columns that the pair takes, in its order.
        predictor: The predictor of the features; `None` for none.
    """

    schema: pa.Schema
    max_errors: Mapping[str, float] = field(default_factory=dict)
    features: Sequence[str] = ()
    predictor: RowPredictor | None = None

    @property
    def rows_at_once(self) -> int:
        """Returns how many rows a part has at most."""
        # A column may become two: its values, and whether there are any.
        fitting = bounded.MOST_VALUES // (2 * max(1, len(self.schema)))
        return max(1, min(bounded.MOST_ROWS, fitting))

    def encode(self, table: pa.Table) -> CodedPart:
        """Codes a part of the table, of at most `rows_at_once` rows."""
        columns = self._columns(table)
        given = _Arrays.of(columns, self.max_errors)
        plan = FieldWriter()
        plan.number(table.num_rows)
        for each in columns:
            plan.numbers([each.style, each.digits, int(each.has_nulls)])
        rest = table.select([each.name for each in columns if each.style is Style.KEPT])
        kept = as_parquet(rest) if rest.num_columns else b""
        rows, latents = self._coded_rows(given, columns)
        whole = FieldWriter(bytearray([_CODED]))
        for section in (bytes(plan.data), rows.data, latents, kept):
            whole.number(len(section))
            whole.raw(section)
        data = bytes(whole.data)
        found = {name: rows.largest_errors[place] for name, place in given.places.items()}
        numbers = {each.name for each in columns if each.is_number}
        told = {name: rows.predictors[place].words for name, place in given.places.items()}
        measured = {name: error for name, error in found.items() if name in numbers}
        decoded = self.decode(data)
        instead = _instead(decoded, len(data))
        if instead is not None:
            told = dict.fromkeys(self.schema.names, PARQUET_WORDS)
            return CodedPart(instead, told, measured, is_parquet=True, decoded=self.decode(instead))
        return CodedPart(data, told, measured, is_parquet=False, decoded=decoded)

    def decode(self, data: bytes) -> pa.Table:
        """Returns a part of the table.

        Raises:
            DataError: If the bytes are damaged, or need a pair and there is none.
        """
        if data[:1] == bytes([_PARQUET]):
            return from_parquet(data[1:], self.schema)
        if data[:1] != bytes([_CODED]):
            raise DataError("a chunk is no part of a table; it is damaged")
        reader = FieldReader(data, 1)
        plan, coded, latents, kept = (reader.raw(reader.count(len(data))) for _ in range(4))
        fields = FieldReader(plan)
        rows = fields.count(bounded.MOST_ROWS)
        styles = [_StyleOf.read(fields) for _ in self.schema]
        expected = sum(1 + each.has_nulls for each in styles if each.style is not Style.KEPT)
        predictions = self._predictions(latents, rows, styles) if latents else None
        arrays = bounded.decode(coded, predictions)
        if len(arrays) != expected or any(len(each) != rows for each in arrays):
            raise DataError("a chunk has other columns than its plan; it is damaged")
        rest = from_parquet(kept, self._schema_of_kept(styles)) if kept else None
        source = iter(arrays)
        columns = []
        for each, name in zip(styles, self.schema.names, strict=True):
            if each.style is Style.KEPT:
                if rest is None or rest.num_rows != rows:
                    raise DataError(f"a chunk lacks the column {name}; it is damaged")
                columns.append(rest.column(name))
                continue
            valid = next(source).astype(np.bool_) if each.has_nulls else None
            columns.append(each.column(next(source), valid, self.schema.field(name).type))
        return pa.table(columns, schema=self.schema)

    def bytes_with_pair(self, table: pa.Table) -> int | None:
        """Returns the length of a part whose features may be predicted by the pair.

        The latents count even where the pair does not save as much, so that pairs can be compared.
        It is `None` if the pair predicts nothing of the part.
        """
        columns = self._columns(table)
        given = _Arrays.of(columns, self.max_errors)
        predicted = self._predicted(given, columns)
        if predicted is None:
            return None
        latents, hints = predicted
        return len(latents) + len(given.encode(hints).data)

    def _columns(self, table: pa.Table) -> list[_Column]:
        table = table.combine_chunks()
        return [_Column.of(table.column(name), name) for name in self.schema.names]

    # -- the features, as the pair sees them ----------------------------------------------------

    def _coded_rows(
        self, given: _Arrays, columns: Sequence[_Column]
    ) -> tuple[bounded.CodedRows, bytes]:
        """Returns the arrays as bytes, with latents if the pair saves more than they cost."""
        alone = given.encode(None)
        predicted = self._predicted(given, columns)
        if predicted is None:
            return alone, b""
        latents, hints = predicted
        if len(latents) >= len(alone.data):
            return alone, b""
        beside = given.encode(hints)
        if not beside.needs_pair or len(beside.data) + len(latents) >= len(alone.data):
            return alone, b""
        return beside, latents

    def _predicted(
        self, given: _Arrays, columns: Sequence[_Column]
    ) -> tuple[bytes, list[Floats | None]] | None:
        """Returns the latents of the rows, and what they predict for each array that is coded."""
        by_name = {each.name: each for each in columns}
        usable = [by_name[name] for name in self.features if name in given.places]
        if self.predictor is None or len(usable) < len(self.features):
            return None
        if not len(given.arrays[0]):
            return None
        rows = np.stack([each.values.astype(np.float64) for each in usable], axis=1)
        latents, predicted = self.predictor.encode(rows)
        hints: list[Floats | None] = [None] * len(given.arrays)
        for number, name in enumerate(self.features):
            hints[given.places[name]] = np.ascontiguousarray(predicted[:, number])
        return latents, hints

    def _predictions(
        self, latents: bytes, rows: int, styles: Sequence[_StyleOf]
    ) -> list[Floats | None]:
        if self.predictor is None:
            raise DataError("a chunk needs its pair, and there is none")
        predicted = self.predictor.decode(latents, rows)
        number = {name: place for place, name in enumerate(self.features)}
        hints: list[Floats | None] = []
        for each, name in zip(styles, self.schema.names, strict=True):
            if each.style is Style.KEPT:
                continue
            if each.has_nulls:
                hints.append(None)
            place = number.get(name)
            hints.append(None if place is None else np.ascontiguousarray(predicted[:, place]))
        return hints

    def _schema_of_kept(self, styles: Sequence[_StyleOf]) -> pa.Schema:
        fields = zip(self.schema, styles, strict=True)
        return pa.schema([each for each, style in fields if style.style is Style.KEPT])


def _instead(decoded: pa.Table, size: int) -> bytes | None:
    """Returns a decoded part as a parquet, if that is below a size."""
    if len(as_parquet(decoded, 1)) > _WORTH_A_TRY * size:
        return None
    instead = bytes([_PARQUET]) + as_parquet(decoded)
    return instead if len(instead) < size else None


@dataclass(frozen=True)
class _Arrays:
    """The columns of a part that are coded, and whether those with gaps have values, as arrays.

    Attributes:
        arrays: The arrays, each (N,).
        errors: The largest error of each.
        digits: The number of decimals of each, or `None`.
        places: The number of the array of each column's values, by its name.
    """

    arrays: list[Values]
    errors: list[float]
    digits: list[int | None]
    places: Mapping[str, int]

    @classmethod
    def of(cls, columns: Sequence[_Column], max_errors: Mapping[str, float]) -> _Arrays:
        arrays: list[Values] = []
        errors: list[float] = []
        digits: list[int | None] = []
        places = {}
        for each in columns:
            if each.style is Style.KEPT:
                continue
            if each.has_nulls:
                arrays.append(each.valid)
                errors.append(0.0)
                digits.append(None)
            places[each.name] = len(arrays)
            arrays.append(each.values)
            errors.append(max_errors.get(each.name, 0.0) if each.is_number else 0.0)
            digits.append(each.decimals)
        return cls(arrays, errors, digits, places)

    def encode(self, hints: list[Floats | None] | None) -> bounded.CodedRows:
        return bounded.encode(self.arrays, self.errors, hints, self.digits)


@dataclass(frozen=True)
class _StyleOf:
    """The way in which the cells of a column are written as text."""

    style: Style
    digits: int
    has_nulls: bool

    @property
    def decimals(self) -> int | None:
        """Returns the number of decimals that all cells have; `None` where that is not fixed."""
        return self.digits if self.style is Style.FIXED else None

    @classmethod
    def read(cls, fields: FieldReader) -> _StyleOf:
        return cls(Style(fields.count(max(Style))), fields.count(17), bool(fields.count(1)))

    def column(
        self, values: Values, valid: NDArray[np.bool_] | None, kind: pa.DataType
    ) -> pa.Array:
        """Returns a column of a type from its values."""
        if self.style is not Style.TYPED:
            texts = written(values, self.style, self.digits)
            return texts if valid is None else pc.if_else(pa.array(valid), texts, None)
        mask = None if valid is None else ~valid
        if _is_time(kind):
            whole = pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64(), mask=mask)
            return whole.cast(kind)
        return pa.array(values, kind, mask=mask)


@dataclass(frozen=True)
class _Column(_StyleOf):
    """A column of a part.

    Attributes:
        name: The name.
        values: The values, shape (N,); where there is none, that of the row before.
        valid: Whether there is a value, shape (N,).
        is_number: Whether its values are numbers, which may have an error.
    """

    name: str
    values: Values
    valid: NDArray[np.bool_]
    is_number: bool

    @classmethod
    def of(cls, column: pa.ChunkedArray, name: str) -> _Column:
        valid = np.asarray(column.is_valid())
        has_nulls = not valid.all()
        kept = cls(Style.KEPT, 0, has_nulls, name, np.zeros(0), valid, is_number=False)
        there = column.drop_null().combine_chunks()
        if pa.types.is_string(column.type):
            read = read_numbers(there)
            if read is None:
                return kept
            style, values = read.style, _spread(read.values, valid)
            return cls(style, read.digits, has_nulls, name, values, valid, style.is_number)
        if not (_is_plain(column.type) or _is_time(column.type)):
            return kept
        if _is_time(column.type):
            there = there.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
        found = there.to_numpy(zero_copy_only=False)
        is_number = _is_plain(column.type) and not pa.types.is_boolean(column.type)
        return cls(Style.TYPED, 0, has_nulls, name, _spread(found, valid), valid, is_number)


def _spread(there: Values, valid: NDArray[np.bool_]) -> Values:
    """Returns values of all rows, those of the row before where there is none."""
    if not len(there):
        return np.zeros(len(valid), there.dtype)
    return np.ascontiguousarray(there[np.maximum(np.cumsum(valid) - 1, 0)])


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_time(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind)
        or types.is_duration(kind)
    )  # fmt: skip


def are_numbers(column: pa.ChunkedArray) -> bool:
    """Returns whether the cells of a column, those of texts too, are numbers."""
    if not pa.types.is_string(column.type):
        kind = column.type
        return pa.types.is_null(kind) or (_is_plain(kind) and not pa.types.is_boolean(kind))
    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def part_errors(before: pa.Table, after: pa.Table) -> dict[str, float]:
    """Returns the largest error of each column of two tables of the same schema.

    A column that has no numbers has an error of 0 if it is equal, else infinity.
    """
    found = {}
    for name in before.column_names:
        one, other = (_Column.of(each.column(name), name) for each in (before, after))
        same_nulls = np.array_equal(one.valid, other.valid)
        if not same_nulls:
            found[name] = np.inf
        elif one.is_number and other.is_number:
            decimals = one.decimals if one.decimals == other.decimals else None
            decoded = other.values.astype(one.values.dtype)
            found[name] = largest_error(one.values, decoded, decimals)
        else:
            found[name] = 0.0 if _are_equal(before.column(name), after.column(name)) else np.inf
    return found


def _are_equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    # Two dictionaries may hold the same values in other codes, and a NaN in a list equals none.
    return bool(one.equals(other)) or repr(one.to_pylist()) == repr(other.to_pylist())

"""Rows of numbers to bytes and back, with a maximum error that is guaranteed in every column.

A column is put on a grid (`grids`), predicted from what the decoder has already (`predictors`), and
what the prediction leaves is coded with learned tables (`adaptive`). One of the predictors is the
pair (`pair_prediction`). Rows that repeat parts of others are compressed as general tools do if
that is smaller. A checksum of the whole numbers tells whether they were decoded alike.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.compression.bounded.adaptive import Alphabet, SymbolDecoder, SymbolEncoder, alphabet_of
from isthmus.compression.bounded.bit_fields import FieldReader, FieldWriter
from isthmus.compression.bounded.column_code import EarlierColumns, read_column, write_column
from isthmus.compression.bounded.grids import (
    DTYPES,
    Grid,
    Gridded,
    GridKind,
    Special,
    Values,
    largest_error,
    on_grid,
)
from isthmus.compression.bounded.pair_prediction import FloatPrediction, RoundedPrediction
from isthmus.compression.bounded.predictors import PAIR_PREDICTORS, Predictor
from isthmus.errors import DataError

Floats = NDArray[np.float64]

MOST_ROWS = 1 << 16
MOST_COLUMNS = 1 << 16
MOST_VALUES = 1 << 22
"""The most values that a chunk has, whatever its shape."""
_COLUMNS, _ROWS = 1, 2  # the forms of a chunk
_HEAD = struct.Struct("<BII")
_DAMAGES = (ValueError, IndexError, OverflowError, AssertionError, KeyError, lzma.LZMAError)
_LZMA_DICTIONARY = 1 << 26  # that of the preset
_LZMA: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME}]
# A fast compressor that is further than this from the coded size is beyond what LZMA makes up.
_WORTH_A_TRY = 1.6


@dataclass(frozen=True)
class CodedRows:
    """Rows as bytes.

    Attributes:
        data: The bytes.
        predictors: The predictor of each column.
        largest_errors: The largest error of each column, measured on the decoded values.
    """

    data: bytes
    predictors: tuple[Predictor, ...]
    largest_errors: tuple[float, ...]

    @property
    def needs_pair(self) -> bool:
        """Returns whether the decoder needs the pair's predictions."""
        return any(each in PAIR_PREDICTORS for each in self.predictors)


def encode(
    columns: Sequence[Values],
    max_errors: Sequence[float],
    predictions: Sequence[Floats | None] | None = None,
    digits: Sequence[int | None] | None = None,
) -> CodedRows:
    """Codes the rows of a chunk.

    Args:
        columns: The columns, each of shape (N,) and one of `grids.DTYPES`, with N at most
            `MOST_ROWS`.
        max_errors: The largest error of each column; 0 keeps every bit.
        predictions: The pair's prediction for each column, each (N,), or `None` for none.
        digits: The number of decimals of each column that is of decimals, or `None`.

    Raises:
        DataError: If there are too many columns.
    """
    if len(columns) > MOST_COLUMNS:
        raise DataError(
            f"has {len(columns):,} columns, and a chunk at most {MOST_COLUMNS:,}; split the file"
        )
    fields = FieldWriter()
    symbols, earlier = SymbolEncoder(fields), EarlierColumns()
    rows = len(columns[0]) if len(columns) else 0
    fields.numbers([rows, len(columns)])
    special, checksum = np.zeros(rows, np.uint8), 0
    used: list[Predictor] = []
    errors: list[float] = []
    decoded: list[Values] = []
    for number, (column, max_error) in enumerate(zip(columns, max_errors, strict=True)):
        decimals = None if digits is None else digits[number]
        gridded = on_grid(column, max_error, decimals)
        fields.number(DTYPES.index(column.dtype))
        _write_grid(gridded.grid, fields)
        _write_special(gridded, special, fields, symbols)
        special = gridded.special
        hint = None if predictions is None else predictions[number]
        prediction = None
        if hint is not None:
            prediction = RoundedPrediction.of(hint, gridded.grid)
        regular = special == Special.REGULAR
        used.append(write_column(gridded.k, regular, earlier, prediction, fields, symbols))
        _write_last_digits(gridded.last_digits, fields, symbols)
        checksum = zlib.crc32(gridded.k.astype("<i8").tobytes(), checksum)
        decoded.append(gridded.values(column.dtype))
        errors.append(largest_error(column, decoded[-1], decimals))
    coded = bytes(fields.data), symbols.finish()
    listed = _bytes_of_rows(decoded, sum(map(len, coded)))
    if listed is not None:
        return CodedRows(listed, tuple(Predictor.ROWS for _ in used), tuple(errors))
    data = _HEAD.pack(_COLUMNS, checksum, len(coded[0])) + b"".join(coded)
    return CodedRows(data, tuple(used), tuple(errors))


def decode(data: bytes, predictions: Sequence[Floats | None] | None = None) -> list[Values]:
    """Returns the columns, each of shape (N,), that `encode` coded.

    Args:
        data: The bytes.
        predictions: The pair's predictions on this machine, if the bytes need them.

    Raises:
        DataError: If the bytes are damaged.
    """
    try:
        if data[:1] == bytes([_ROWS]):
            return _rows_of_bytes(data)
        return _decoded(data, predictions)
    except _DAMAGES as error:
        raise DataError(f"a chunk cannot be decoded ({error}); it is damaged") from error


def _decoded(data: bytes, predictions: Sequence[Floats | None] | None) -> list[Values]:
    if len(data) < _HEAD.size:
        raise DataError("a chunk ends within its head; it is damaged")
    mode, expected, size = _HEAD.unpack_from(data)
    if mode != _COLUMNS:
        raise DataError(f"a chunk is of the unknown form {mode}; it is damaged")
    if size > len(data) - _HEAD.size:
        raise DataError("a chunk ends within its fields; it is damaged")
    body = _HEAD.size + size
    fields = FieldReader(data[_HEAD.size : body])
    symbols, earlier = SymbolDecoder(fields, data[body:]), EarlierColumns()
    rows, count = _shape(fields)
    if predictions is not None and len(predictions) != count:
        raise DataError(f"a chunk has {rows} rows of {count} columns, unlike its latents")
    special, checksum = np.zeros(rows, np.uint8), 0
    columns = []
    for number in range(count):
        dtype = DTYPES[fields.count(len(DTYPES) - 1)]
        grid = _read_grid(fields)
        special, kept = _read_special(special, dtype, fields, symbols)
        hint = None if predictions is None else predictions[number]
        prediction = None if hint is None else FloatPrediction(hint, grid)
        k = read_column(special == Special.REGULAR, earlier, prediction, fields, symbols)
        checksum = zlib.crc32(k.astype("<i8").tobytes(), checksum)
        last_digits = _read_last_digits(len(k), grid, fields, symbols)
        columns.append(Gridded(grid, special, k, kept, last_digits).values(dtype))
    if checksum != expected:
        raise DataError("a chunk decodes to other numbers than were coded; it is damaged")
    return columns


def _shape(fields: FieldReader) -> tuple[int, int]:
    """Reads the numbers of rows and columns, which bound what is allocated."""
    rows, columns = fields.count(MOST_ROWS), fields.count(MOST_COLUMNS)
    if rows * columns > MOST_VALUES:
        raise DataError(f"a chunk has {rows} rows of {columns} columns; it is damaged")
    return rows, columns


def _write_grid(grid: Grid, fields: FieldWriter) -> None:
    fields.number(grid.kind)
    if grid.kind is GridKind.BITS:
        fields.number(DTYPES.index(grid.bits_of))
    elif grid.kind is GridKind.PRODUCT:
        fields.raw(struct.pack("<d", grid.step))
    else:
        fields.numbers([int(grid.step), int(grid.scale), DTYPES.index(grid.bits_of)])


def _read_grid(fields: FieldReader) -> Grid:
    kind = GridKind(fields.number())
    if kind is GridKind.BITS:
        return Grid(kind, bits_of=DTYPES[fields.count(2)])
    if kind is GridKind.PRODUCT:
        (step,) = struct.unpack("<d", fields.raw(8))
        return Grid(kind, step=step)
    step, scale, rounded_to = fields.number(), fields.number(), DTYPES[fields.count(2)]
    if not (0 < step < 2**53 and 0 < scale < 2**60):
        raise DataError(f"a chunk has a grid of {step} / {scale}; it is damaged")
    return Grid(kind, step=float(step), scale=float(scale), bits_of=rounded_to)


def _write_special(
    gridded: Gridded, before: NDArray[np.uint8], fields: FieldWriter, symbols: SymbolEncoder
) -> None:
    """Writes the classes of a column's values, which are often those of the column before."""
    change = gridded.special.astype(np.int64) - before
    alphabet = replace(alphabet_of(change, 3), size_class=0)
    fields.numbers([alphabet.low, alphabet.high])
    if alphabet.size > 1:
        symbols.put(change, alphabet)
    fields.raw(gridded.kept.tobytes())


def _read_special(
    before: NDArray[np.uint8],
    dtype: np.dtype[np.generic],
    fields: FieldReader,
    symbols: SymbolDecoder,
) -> tuple[NDArray[np.uint8], Values]:
    alphabet = Alphabet(3, fields.small(), fields.small(), 0)
    change = np.full(len(before), alphabet.low, np.int64)
    if alphabet.size > 1:
        change = symbols.take(len(before), alphabet)
    classes = change + before
    if len(classes) and not 0 <= classes.min() <= classes.max() <= max(Special):
        raise DataError("a chunk has a class of values that there is none of; it is damaged")
    special = classes.astype(np.uint8)
    count = int((special == Special.KEPT).sum())
    return special, np.frombuffer(fields.raw(count * dtype.itemsize), dtype)


def _write_last_digits(
    last_digits: NDArray[np.int64] | None, fields: FieldWriter, symbols: SymbolEncoder
) -> None:
    fields.number(int(last_digits is not None))
    if last_digits is not None:
        alphabet = alphabet_of(last_digits, 3)
        fields.numbers([alphabet.low, alphabet.high, alphabet.size_class])
        symbols.put(last_digits, alphabet)


def _read_last_digits(
    count: int, grid: Grid, fields: FieldReader, symbols: SymbolDecoder
) -> NDArray[np.int64] | None:
    if not fields.count(1):
        return None
    if grid.kind is not GridKind.RATIO:
        raise DataError("a chunk has last digits of what has none; it is damaged")
    alphabet = Alphabet(3, fields.small(), fields.small(), fields.count(127))
    return symbols.take(count, alphabet)


# -- rows that repeat parts of others -----------------------------------------------------------


def _bytes_of_rows(columns: Sequence[Values], most: int) -> bytes | None:
    """Returns rows as one compressed text, which finds repetitions, if that is below `most` bytes.

    It is the way of general tools: what repeats parts of other rows, far away or shifted by some
    columns, has no better one.
    """
    if not columns or not len(columns[0]):
        return None
    text = np.rec.fromarrays(columns).tobytes()
    if len(pa.Codec("zstd", 3).compress(text, asbytes=True)) > _WORTH_A_TRY * most:
        return None
    fields = FieldWriter()
    fields.numbers([len(columns[0]), len(columns)])
    fields.numbers([DTYPES.index(column.dtype) for column in columns])
    # A dictionary that is larger than the text only takes time; the decoder's fits any.
    fitting = {**_LZMA[0], "dict_size": max(1 << 12, 1 << len(text).bit_length())}
    smaller = len(text) < _LZMA_DICTIONARY
    body = lzma.compress(text, lzma.FORMAT_RAW, filters=[fitting] if smaller else _LZMA)
    data = _HEAD.pack(_ROWS, zlib.crc32(text), len(fields.data)) + bytes(fields.data) + body
    return data if len(data) < most else None


def _rows_of_bytes(data: bytes) -> list[Values]:
    _, expected, size = _HEAD.unpack_from(data)
    fields = FieldReader(data[_HEAD.size : _HEAD.size + size])
    rows, count = _shape(fields)
    dtypes = [DTYPES[fields.count(len(DTYPES) - 1)] for _ in range(count)]
    packed = np.dtype([(f"{number}", dtype) for number, dtype in enumerate(dtypes)])
    whole = rows * packed.itemsize
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA)
    text = reader.decompress(data[_HEAD.size + size :], max_length=whole)
    if len(text) != whole or zlib.crc32(text) != expected:
        raise DataError("a chunk decodes to other rows than were coded; it is damaged")
    table = np.frombuffer(text, packed)
    return [np.ascontiguousarray(table[name]) for name in packed.names or ()]

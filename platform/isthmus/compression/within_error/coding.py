"""Compression with all columns and a maximum error: a job's input to a file, and back."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from isthmus.compression import bounded
from isthmus.compression.container import ChunkKind
from isthmus.compression.opened import OpenedFile
from isthmus.compression.within_error.columns import (
    CodedPart,
    TableCoder,
    are_numbers,
    part_errors,
)
from isthmus.compression.within_error.exact_file import Append
from isthmus.compression.within_error.files import exact_form
from isthmus.compression.within_error.form import ColumnSummary, ExactForm
from isthmus.compression.within_error.max_error import MaxError
from isthmus.compression.within_error.pair_rows import PairRows
from isthmus.core import CodedAutoencoder
from isthmus.data import Files, Provenance
from isthmus.data.outputs.output import whole_folder
from isthmus.errors import DataError
from isthmus.execution.blocks import OnRows
from isthmus.registry import Pair

_START = struct.Struct("<IQI")
_MOST_LOST_ROWS = 2**26


@dataclass
class ExactTally:
    """Counts the rows, chunks and errors of a compression while it runs.

    Attributes:
        rows: The number of rows of each file.
        columns: A summary of each column.
        chunks: The number of chunks.
        parquet_chunks: The number of those that are stored as parquet, because that was smaller.
    """

    rows: list[int]
    chunks: int = 0
    parquet_chunks: int = 0
    _predictors: dict[str, Counter[str]] = field(default_factory=dict)
    _errors: dict[str, float] = field(default_factory=dict)

    def add(self, number: int, rows: int, part: CodedPart, errors: Mapping[str, float]) -> None:
        """Adds a part of a file, with the errors that were measured."""
        self.rows[number] += rows
        self.chunks += 1
        self.parquet_chunks += part.is_parquet
        for name, predictor in part.predictors.items():
            self._predictors.setdefault(name, Counter())[predictor] += 1
        for name in part.largest_errors:
            self._errors[name] = max(self._errors.get(name, 0.0), errors[name])

    @property
    def columns(self) -> tuple[ColumnSummary, ...]:
        """The predictors and the largest error of each column that was coded."""
        return tuple(
            ColumnSummary(name=name, predictors=dict(used), largest_error=self._errors.get(name))
            for name, used in self._predictors.items()
        )


def exact_files(files: Files, pair: Pair, wanted: str) -> ExactForm:
    """Returns the form of the files of an input.

    Raises:
        DataError: If one of them cannot be written again exactly.
    """
    is_exact = MaxError.parse(wanted).is_exact
    forms = [
        exact_form(files.path(number), files.called(number), pair.manifest.data, is_exact=is_exact)
        for number in range(len(files))
    ]
    for number, form in enumerate(forms):
        count = len(form.schema_of_parts)
        if count > bounded.MOST_COLUMNS // 2:  # a column may become two
            raise DataError(
                f"{files.called(number)}: has {count:,} columns; --max-error is for at most "
                f"{bounded.MOST_COLUMNS // 2:,}, so split the file"
            )
    return ExactForm(
        is_folder=files.is_folder, names=files.names, files=tuple(forms), max_error=wanted
    )


def coders(form: ExactForm, pair: Pair, quality: float | None) -> list[TableCoder]:
    """Returns what codes each file.

    Args:
        form: The files.
        pair: The pair that predicts their features.
        quality: The quality of its latents; `None` for the usual one.

    Raises:
        UsageError: If the errors are not of its columns, or the pair has no such quality.
    """
    wanted, taken = MaxError.parse(form.max_error), pair.manifest.rows_taken
    found = []
    predictors: dict[float, PairRows] = {}
    for each in form.files:
        schema = each.schema_of_parts
        features = each.features(pair.manifest.data, taken)
        if features and each.unit not in predictors and isinstance(pair.module, CodedAutoencoder):
            predictors[each.unit] = PairRows(pair, pair.module, each.unit, quality)
        errors = {
            name: error / each.unit
            for name, error in wanted.of(schema.names, features, each.with_ranges(taken)).items()
        }
        predictor = predictors.get(each.unit) if features else None
        found.append(TableCoder(schema, errors, features, predictor))
    return found


def coded_parts(
    files: Files, form: ExactForm, pair: Pair, quality: float | None, tally: ExactTally
) -> Iterator[bytes]:
    """Yields the content of each chunk.

    Each is decoded again and compared before it is given.

    Args:
        files: The files.
        form: Their form.
        pair: The pair that predicts their features.
        quality: The quality of its latents; `None` for the usual one.
        tally: Is told of each chunk.

    Raises:
        DataError: If a file cannot be read.
    """
    with_coders = zip(form.files, coders(form, pair, quality), strict=True)
    for number, (each, coder) in enumerate(with_coders):
        first, path = 0, files.path(number)
        for table in each.parts(path, files.called(number), pair.manifest.data, coder.rows_at_once):
            _refuse_texts(table, coder.max_errors, files.called(number))
            part = coder.encode(table)
            errors = part_errors(table, part.decoded)
            beyond = [n for n, e in errors.items() if not e <= coder.max_errors.get(n, 0.0)]
            if beyond:
                raise DataError(
                    f"{files.called(number)}: the column {beyond[0]} does not come back within its "
                    "error; report this file to the authors of isthmus"
                )
            scaled = {name: error * each.unit for name, error in errors.items()}
            tally.add(number, table.num_rows, part, scaled)
            yield _START.pack(number, first, table.num_rows) + part.data
            first += table.num_rows


def _refuse_texts(table: pa.Table, names: Iterable[str], called: str) -> None:
    """Refuses an error of a column that has no numbers."""
    for name in names:
        if not are_numbers(table.column(name)):
            raise DataError(
                f'{called}: the column "{name}" has cells that are no numbers, so it can have no '
                "--max-error; leave its name out"
            )


@dataclass(frozen=True)
class _Part:
    """A part of a file that a chunk holds."""

    number: int
    first: int
    rows: int
    data: bytes


class ExactDecoding:
    """Decodes the chunks of a file in order, and fills in what is lost with missing values.

    Attributes:
        rows: The number of rows so far.
        lost: The number of those that are filled in.
        damages: The parts that could not be decoded, in words.
    """

    def __init__(
        self, opened: OpenedFile, form: ExactForm, pair: Pair, on_rows: OnRows | None
    ) -> None:
        self.rows, self.lost = 0, 0
        self.damages: list[str] = []
        self._opened, self._called, self._salvage = opened, opened.source, opened.salvage
        self._form, self._on_rows = form, on_rows
        self._coders = coders(form, pair, opened.header.quality)
        self._place = (0, 0)

    def write_to(self, output: Path, provenance: Provenance) -> None:
        """Writes all files; they appear whole or not at all.

        Raises:
            DataError: If rows are damaged, or lost, and are not to be filled in.
        """
        counts: list[int | None] = [None] * len(self._form.files)
        summary = self._opened.summary
        if summary is not None:
            if len(summary.rows) != len(counts):
                raise DataError(f"{self._called}: its summary is not of its header; restore it")
            counts = list(summary.rows)
        total = None if summary is None else sum(summary.rows)
        parts = self._opened.decoded(ChunkKind.EXACT, self._decoded, self.damages)
        upcoming = next(parts, None)
        with self._targets(output, provenance) as targets:
            for number, (each, count) in enumerate(zip(self._form.files, counts, strict=True)):
                with each.open_output(targets[number], provenance) as append:
                    done = 0
                    while upcoming is not None and upcoming[0].number == number:
                        part, table = upcoming
                        self._fill(append, number, part.first - done)
                        append(table)
                        done = part.first + part.rows
                        self.rows += part.rows
                        if self._on_rows:
                            self._on_rows(self.rows, total)
                        upcoming = next(parts, None)
                    self._fill(append, number, (done if count is None else count) - done)

    def _decoded(self, content: bytes) -> tuple[_Part, pa.Table]:
        """Decodes a part, which must come after those before."""
        part = _opened(content, len(self._form.files), self._place)
        table = self._coders[part.number].decode(part.data)
        if table.num_rows != part.rows:
            raise DataError(f"it has {table.num_rows} rows where {part.rows} should be")
        self._place = part.number, part.first + part.rows
        return part, table

    @contextmanager
    def _targets(self, output: Path, provenance: Provenance) -> Iterator[list[Path]]:
        if not self._form.is_folder:
            yield [output]
            return
        with whole_folder(output, provenance) as folder:
            yield [folder / name for name in self._form.names]

    def _fill(self, append: Append, number: int, rows: int) -> None:
        """Appends rows that stand for lost ones."""
        name = self._form.names[number]
        if rows > 0 and not self._salvage:
            raise DataError(
                f"{self._called}: {rows:,} rows of {name} are missing; restore it, or decompress "
                "it with --salvage"
            )
        if self.lost + rows > _MOST_LOST_ROWS:
            raise DataError(f"{self._called}: hardly anything of {name} is left; restore it")
        coder = self._coders[number]
        while rows > 0:
            count = min(rows, coder.rows_at_once)
            append(pa.table([_missing(each, count) for each in coder.schema], schema=coder.schema))
            self.lost += count
            self.rows += count
            rows -= count


def _opened(content: bytes, files: int, place: tuple[int, int]) -> _Part:
    """Returns the part of one of so many files that a chunk holds, at or after a place."""
    if len(content) < _START.size:
        raise DataError("it is shorter than its start")
    number, first, rows = _START.unpack_from(content)
    if number >= files:
        raise DataError(f"it is of the file {number} of {files}")
    if (number, first) < place:
        raise DataError(f"its rows {first:,} of file {number} are in the wrong place")
    return _Part(number, first, rows, content[_START.size :])


def _missing(column: pa.Field, rows: int) -> pa.Array:
    """Returns values that stand for lost ones: NaN, null, or 0 where there is no other."""
    if column.nullable and not pa.types.is_floating(column.type):
        return pa.nulls(rows, column.type)
    if pa.types.is_floating(column.type):
        return pa.array(np.full(rows, np.nan), column.type)
    return pa.array(np.zeros(rows), pa.float64()).cast(column.type)

"""Decompresses a file: finds its pair, decodes its chunks, writes the rows in their input's form.

The whole file is checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from isthmus.compression.coder import Coder, opened_chunk
from isthmus.compression.container import ChunkKind
from isthmus.compression.opened import OpenedFile, open_compressed
from isthmus.compression.rebuilt import Rebuilt, rebuilt
from isthmus.compression.regions import ImagesDecoding
from isthmus.compression.within_error.coding import ExactDecoding
from isthmus.compression.within_error.form import ExactForm
from isthmus.data import Provenance
from isthmus.data.rows import Block, FloatArray
from isthmus.errors import DataError, ModelNotFound, RegistryError
from isthmus.execution.blocks import OnRows
from isthmus.execution.destinations import destination
from isthmus.execution.inputs import refuse_replaced_input
from isthmus.execution.provenance import provenance_of, recording
from isthmus.registry import Device, Pair, load, name_of_pair
from isthmus.spec import Settings

# A damaged number may claim that any number of rows is lost: so many times those that are there,
# and so many values, are filled in.
_MOST_TIMES_FILLED = 16
_MOST_VALUES_FILLED = 2**26


@dataclass(frozen=True)
class DecompressResult:
    """The result of decompression.

    Attributes:
        rows: Number of rows that were written.
        lost: Number of those whose chunks are lost: they are filled in.
        damages: The damaged parts, each with its place; nothing if the file is whole.
        output: The path of the output, or its address in S3.
        model: The name and version of the pair, `digits/3`.
        pair_id: The id of the pair.
    """

    rows: int
    lost: int
    damages: tuple[str, ...]
    output: Path | str
    model: str
    pair_id: str


def decompress(
    source: str,
    output: str | Path,
    settings: Settings,
    *,
    model: str | None = None,
    pair: Pair | None = None,
    salvage: bool = False,
    force: bool = False,
    device: str = "auto",
    on_rows: OnRows | None = None,
) -> DecompressResult:
    """Writes the rows of a compressed file in the form of the input that it was made of.

    Args:
        source: The file; local or `s3://`.
        output: The path or the address of the rows, which appear whole or not at all.
        settings: The settings with the address of the registry.
        model: The pair; by default, the registry is asked for the pair that the file names.
        pair: The pair, if it is loaded.
        salvage: Whether to decode what is whole of a damaged file. Lost images and pixels are grey,
            lost values missing, lost sound is silence.
        force: Whether an existing output is replaced.
        device: The device that the pair computes on.
        on_rows: Called with (rows done, all rows) during the work.

    Raises:
        UsageError: If the output exists and may not be replaced.
        DataError: If the file is damaged, or is none.
        ModelNotFound: If the pair is not in the registry.
        RegistryError: If the pair is another one.
    """
    with open_compressed(source, salvage=salvage) as opened:
        with destination(output) as place:
            place.refuse_existing(force=force)
        pair = pair or load(_model(opened, model, settings), settings, cast(Device, device))
        refuse_replaced_input(source, output)
        with recording(pair, "decompress", settings) as recorder, destination(output) as place:
            result = write_rows(opened, pair, place.path, on_rows)
            found = recorder.of(place.path, place.address, result.rows)
            place.publish()
            recorder.record(found)
    return replace(result, output=place.final)


def write_rows(
    opened: OpenedFile, pair: Pair, output: Path, on_rows: OnRows | None = None
) -> DecompressResult:
    """Writes the rows of an opened file to a path of this machine, whole or not at all.

    Args:
        opened: The file.
        pair: The pair that compressed it.
        output: The path.
        on_rows: Called with (rows done, all rows) during the work.

    Raises:
        DataError: If the file is damaged, or the output cannot be written.
        RegistryError: If the pair is another one.
    """
    _refuse_other(pair, opened)
    decoding: _Decoding | ExactDecoding | ImagesDecoding
    form, source = opened.header.form, opened.header.source
    if isinstance(form, ExactForm):
        decoding = ExactDecoding(opened, form, pair, on_rows)
    elif pair.takes_any_size:
        decoding = ImagesDecoding(opened, pair, _target(opened, pair), on_rows)
    else:
        coder = Coder(pair, opened.header.quality)
        decoding = _Decoding(opened, coder, _target(opened, pair), on_rows)
    provenance = provenance_of(pair, opened.source, job="decompress", compressed=source)
    decoding.write_to(output, provenance)
    return DecompressResult(
        rows=decoding.rows,
        lost=decoding.lost,
        damages=tuple(dict.fromkeys((*opened.reader.damages, *decoding.damages))),
        output=output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )


def _model(opened: OpenedFile, model: str | None, settings: Settings) -> str:
    if model is not None:
        return model
    header = opened.header
    try:
        return name_of_pair(header.pair_id, settings)
    except ModelNotFound as error:
        raise ModelNotFound(
            f"{opened.source}: was compressed by {header.model}, and {error}; name the registry "
            "that has it with MLFLOW_TRACKING_URI"
        ) from error


def _refuse_other(pair: Pair, opened: OpenedFile) -> None:
    header, found = opened.header, pair.manifest
    if found.pair_id != header.pair_id:
        raise RegistryError(
            f"{opened.source}: was compressed by pair {header.pair_id} ({header.model}), and "
            f"{pair.reference} is pair {found.pair_id}; leave --model out"
        )
    if (header.kind, header.row_shape) != (found.plan.kind, found.plan.row_shape):
        raise DataError(f"{opened.source}: its header is not of the pair's rows; restore the file")


def _target(opened: OpenedFile, pair: Pair) -> Rebuilt:
    manifest, source = pair.manifest, opened.source
    try:
        return rebuilt(opened.header.form, manifest.data, manifest.rows_taken, source)
    except (ValueError, IndexError) as error:
        raise DataError(f"{source}: its header is damaged: it describes {error}") from error


class _Decoding:
    """Decodes the chunks of a file in order, and fills in what is lost.

    Attributes:
        rows: The number of rows so far.
        lost: The number of those that are filled in.
        damages: The parts that could not be decoded, in words.
    """

    def __init__(
        self, opened: OpenedFile, coder: Coder, target: Rebuilt, on_rows: OnRows | None
    ) -> None:
        self.rows, self.lost = 0, 0
        self.damages: list[str] = []
        self._opened, self._called, self._coder = opened, opened.source, coder
        self._summary, self._target, self._salvage = opened.summary, target, opened.salvage
        self._on_rows = on_rows
        self._part, self._next = 0, 0

    def write_to(self, output: Path, provenance: Provenance) -> None:
        """Writes the rows, which appear whole or not at all.

        Raises:
            DataError: If they cannot be written, or are damaged or lost and not to be filled in.
        """
        self._target.write(self._blocks(), output, provenance)

    def _blocks(self) -> Iterator[Block]:
        """Yields the rows of every file, one file after the other.

        Raises:
            DataError: If rows are damaged, or lost, and are not to be filled in.
        """
        counts, numbers = self._counts()
        total = None if any(count is None for count in counts) else sum(c or 0 for c in counts)

        def decode(content: bytes) -> tuple[int, int, FloatArray]:
            part, first, rows, coded = opened_chunk(content)
            self._check_place(part, first, rows, counts)
            return part, first, self._coder.decode(coded, rows)

        chunks = self._opened.decoded(ChunkKind.ROWS, decode, self.damages)
        for part, first, values in chunks:
            for made in self._up_to(part, first, counts):
                yield self._block(made, numbers)
            yield self._block(values, numbers)
            if self._on_rows:
                self._on_rows(self.rows, total)
        for made in self._up_to(len(counts), 0, counts):
            yield self._block(made, numbers)
        if not self.rows:
            raise DataError(f"{self._called}: holds no row; there is nothing to write")

    def _counts(
        self,
    ) -> tuple[tuple[int | None, ...], np.ndarray[tuple[int], np.dtype[np.int64]] | None]:
        """Returns the number of rows of each file, and the positions of images if some are absent.

        Raises:
            DataError: If the summary is not of the file's form.
        """
        of_form, summary = self._target.counts, self._summary
        if summary is None:
            return of_form, None
        has_room = len(summary.rows) == len(of_form) and all(
            most is None or rows + len(summary.absent) <= most
            for rows, most in zip(summary.rows, of_form, strict=False)
        )
        if not has_room:
            raise DataError(f"{self._called}: its summary is not of its header; restore the file")
        if not summary.absent:
            return summary.rows, None
        numbers = np.setdiff1d(np.arange(of_form[0] or 0), summary.absent)
        if len(numbers) != summary.rows[0]:
            raise DataError(f"{self._called}: its summary is not of its header; restore the file")
        return summary.rows, numbers

    def _check_place(
        self, part: int, first: int, rows: int, counts: tuple[int | None, ...]
    ) -> None:
        most = counts[part] if part < len(counts) else 0
        if (part, first) < (self._part, self._next) or (most is not None and first + rows > most):
            raise DataError(f"its rows {first:,} of file {part} are in the wrong place")
        is_gap = first != (self._next if part == self._part else 0)
        if not self._salvage and (is_gap or self._is_unfinished_before(part, counts)):
            raise DataError(f"rows are missing before its row {first:,} of file {part}")

    def _is_unfinished_before(self, part: int, counts: tuple[int | None, ...]) -> bool:
        if part == self._part:
            return False
        after = counts[self._part + 1 : part]
        return self._next != (counts[self._part] or 0) or any(count for count in after)

    def _up_to(self, part: int, first: int, counts: tuple[int | None, ...]) -> Iterator[FloatArray]:
        """Yields rows that stand for the lost ones before a place."""
        while (self._part, self._next) < (part, first):
            end = first if self._part == part else counts[self._part] or 0
            if self._next >= end:
                self._part, self._next = self._part + 1, 0
                continue
            count = min(end - self._next, self._coder.rows_in_a_chunk)
            yield self._filled(count)

    def _filled(self, count: int) -> FloatArray:
        if not self._salvage:
            raise DataError(
                f"{self._called}: rows from {self._next:,} of file {self._part} are missing; "
                "restore it, or decompress it with --salvage"
            )
        values = np.full((count, *self._coder.row_shape), self._target.fill(), dtype=np.float32)
        self.lost += count
        whole = self.rows - (self.lost - count)
        most = whole * _MOST_TIMES_FILLED * values[0].size + _MOST_VALUES_FILLED
        if self.lost * values[0].size > most:
            raise DataError(f"{self._called}: hardly anything of it is left; restore the file")
        return values

    def _block(
        self, values: FloatArray, numbers: np.ndarray[tuple[int], np.dtype[np.int64]] | None
    ) -> Block:
        block = self._target.block(self._part, self._next, values)
        if numbers is not None:
            kept = numbers[self._next : self._next + len(values)]
            block = Block(values, {"row": kept})
        self._next += len(values)
        self.rows += len(values)
        return block

"""Compresses a file: writes the whole numbers of every row's latent, as few bits as they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from isthmus.compression.any_size import ImagesOfAnySize
from isthmus.compression.coder import Coder
from isthmus.compression.names import refusing
from isthmus.compression.output import CodedBlock, CompressedOutput
from isthmus.compression.regions import images_of
from isthmus.compression.windows import without_overlap
from isthmus.compression.within_error.coding import ExactTally, coded_parts, exact_files
from isthmus.compression.within_error.form import ColumnSummary
from isthmus.compression.within_error.max_error import MaxError
from isthmus.compression.within_error.rate_choice import best_quality
from isthmus.data import Block, RowSource
from isthmus.execution.blocks import OnRows
from isthmus.execution.task import Task
from isthmus.execution.use import RowsUse, UseResult, fields_of_result
from isthmus.registry import Pair
from isthmus.spec import SpecModel


@dataclass(frozen=True, kw_only=True)
class CompressResult(UseResult):
    """The result of compression.

    Attributes:
        size_bytes: The length of the compressed file; of several parts, of all.
        values: The number of values that were coded by the pair: pixels times channels, of images.
        columns: With `max_error`, what became of each column: what its values were predicted from,
            and the largest error that was measured.
        parquet_chunks: The number of chunks that are a parquet with zstd, as that was smaller.
    """

    size_bytes: int
    values: int
    columns: tuple[ColumnSummary, ...] = ()
    parquet_chunks: int = 0


class Compress(RowsUse):
    """Codes every row of an input, and writes one file that isthmus decompress reads.

    A folder becomes one file too, which holds its files by name. Of folders of images and sounds,
    files that cannot be read are set aside; in a table or an array every row keeps its place.
    """

    SUMMARY = "Compress every row of a file or a folder to one .isth, for isthmus decompress."
    EXAMPLE = "isthmus compress --model digits@champion new.npz new.isth"
    DOING, DONE = "compressing", "compressed"
    COUNTS = ("size_bytes", "values")

    class Config(SpecModel):
        """The options of compression."""

        quality: float | None = Field(default=None, ge=0, le=100)
        """From 0, the smallest file, to 100, the best rows, for pairs of several rates. With an
        error, it is that of the pair's predictions; by default, that of the smallest file."""
        max_error: str | None = None
        """The largest error of any feature, 0.01 or a share of its trained range, 1%, or of columns
        by name, price=0.01,volume=5%; 0 loses nothing. Other columns are kept exactly."""

    config: Config
    OUTPUT: CompressedOutput = CompressedOutput()

    def __init__(self, **options: object) -> None:
        """Creates the job; see `Config` for the options.

        Raises:
            UsageError: Naming what is wrong.
        """
        super().__init__(**options)
        if self.config.max_error is not None:
            MaxError.parse(self.config.max_error)
        self.OUTPUT = CompressedOutput(self.config.quality)
        self._coder: Coder | None = None
        self._images: ImagesOfAnySize | None = None
        self._values = 0

    def check(self, pair: Pair) -> None:
        """Refuses pairs that cannot compress."""
        super().check(pair)
        self._coder = Coder(pair, self.config.quality)
        self._images = images_of(pair) if pair.takes_any_size else None
        self.OUTPUT.pair = pair

    def noted(self, pair: Pair) -> dict[str, object]:
        """Returns the quality, if one was asked for."""
        asked = {"quality": self.config.quality, "max_error": self.config.max_error}
        return {name: value for name, value in asked.items() if value is not None}

    def prepared(self, source: RowSource) -> RowSource:
        """Returns the rows without the overlap of their windows, which is not coded twice."""
        return without_overlap(source)

    def apply(self, pair: Pair, block: Block, on_rows: OnRows | None) -> CodedBlock:
        """Returns the coded chunks of a block."""
        self._values += block.values.size
        if self._images is not None:
            coded = [tuple(self._images.encode(x, self.config.quality)) for x in block.values]
            return CodedBlock(images=tuple(coded))
        assert self._coder is not None  # noqa: S101 (a pair is checked before its rows are read)
        chunks = []
        at_once = self._coder.rows_in_a_chunk
        for first in range(0, len(block.values), at_once):
            part = np.ascontiguousarray(block.values[first : first + at_once])
            chunks.append((len(part), self._coder.encode(part)))
            if on_rows:
                on_rows(first + len(part), len(block.values))
        return CodedBlock(tuple(chunks))

    def work(self, task: Task) -> CompressResult:
        """Reads the input in blocks, and writes the coded chunks of each."""
        self._values = 0
        done = super().work(task) if self.config.max_error is None else self._work_exactly(task)
        assert isinstance(done, CompressResult)  # noqa: S101 (made by `result`)
        size_bytes = Path(done.output).stat().st_size
        return replace(done, size_bytes=size_bytes, values=self._values)

    def _work_exactly(self, task: Task) -> CompressResult:
        """Writes all columns of the input's files, within the error."""
        files, pair = task.files(), task.pair
        with refusing(files.name):
            form = exact_files(files, pair, self.config.max_error or "0")
        quality = self.config.quality
        if quality is None:
            quality = best_quality(files, form, pair)
        tally = ExactTally([0] * len(files))
        provenance = task.provenance(self.name(), self.noted(pair))
        with self.OUTPUT.open_exact(form, quality, tally, task.output, provenance) as write:
            for content in coded_parts(files, form, pair, quality, tally):
                write(content)
                if task.on_rows:
                    task.on_rows(sum(tally.rows), None)
        if task.on_rows:
            task.on_rows(sum(tally.rows), sum(tally.rows))
        done = self.result(pair, task.output, {"rows": sum(tally.rows), "rejected": 0})
        return replace(done, columns=tally.columns, parquet_chunks=tally.parquet_chunks)

    def result(
        self, pair: Pair, output: Path | str, counts: Mapping[str, int], *, parts: int = 0
    ) -> CompressResult:
        """Returns the result, with the length of the file."""
        # The length is known when the file is whole.
        found = {"size_bytes": 0, "values": 0, **counts}
        return CompressResult(**fields_of_result(pair, output, found, parts))

    def details(self, result: UseResult) -> list[str]:
        """Returns a line about the size."""
        assert isinstance(result, CompressResult)  # noqa: S101 (made above)
        size = f"{result.size_bytes:,} bytes"
        if result.values:
            size += f", {8 * result.size_bytes / result.values:.3g} bits a value"
        lines = [size]
        errors = {each.name: each.largest_error or 0.0 for each in result.columns}
        if errors:
            worst = max(errors, key=lambda name: errors[name])
            lines.append(
                f"the largest error is {errors[worst]:.6g}, in the column {worst}"
                if errors[worst]
                else "every value comes back exactly"
            )
        if result.parquet_chunks:
            lines.append(
                f"{result.parquet_chunks:,} chunk(s) are parquet and zstd, which is smaller there"
            )
        return lines

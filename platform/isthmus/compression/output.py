"""The output of compression: one file that holds an input, or a folder of them, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import cast

from isthmus.compression.coder import chunk_of
from isthmus.compression.container import ChunkKind, ContainerWriter
from isthmus.compression.forms import Form, ImagesForm, form_of
from isthmus.compression.header import ENDING, Header, Summary, files_in, packed
from isthmus.compression.regions import refuse_other_forms, region_chunk
from isthmus.compression.within_error.coding import ExactTally
from isthmus.compression.within_error.form import ExactForm
from isthmus.core import CodedAutoencoder
from isthmus.data import Block, Files, Provenance, RowSource
from isthmus.data.kinds import get as get_kind
from isthmus.data.outputs.output import check_ending, whole_file
from isthmus.errors import UsageError
from isthmus.execution.outputs import OutputSchema
from isthmus.registry import Pair
from isthmus.types import DataKind


@dataclass(frozen=True)
class CodedBlock:
    """A block of rows in coded form.

    Attributes:
        chunks: The number of rows and the coded bytes of each chunk.
        images: The coded bytes of each region, for each image of any size.
    """

    chunks: tuple[tuple[int, bytes], ...] = ()
    images: tuple[tuple[bytes, ...], ...] = ()


class CompressedOutput(OutputSchema[CodedBlock]):
    """A compressed file."""

    def __init__(self, quality: float | None = None) -> None:
        """Creates the schema; `pair` must be set before a file is opened."""
        self.pair: Pair | None = None
        self._quality = quality

    def check_name(self, output: Path) -> None:
        """Refuses another ending."""
        check_ending(output, (ENDING,), "compressed rows")

    def check(self, source: RowSource, output: Path) -> None:
        """Refuses rows that could not be written again."""
        self.check_name(output)
        form = form_of(source, str(output))
        if self.pair is not None and self.pair.takes_any_size:
            refuse_other_forms(form, str(output))

    @contextmanager
    def open(
        self, source: RowSource, output: Path, provenance: Provenance
    ) -> Iterator[Callable[[Block, CodedBlock], None]]:
        """Gives a function that writes the chunks of each block."""
        form = form_of(source, called_in(provenance))
        header = self._header(form, provenance, self._quality)
        is_by_name = isinstance(header.form, ImagesForm)
        absent: set[str] = set(header.form.names) if isinstance(header.form, ImagesForm) else set()
        rows = [0] * (1 if is_by_name else files_in(header.form))
        if header.form.form == "series":
            rows = [0]
        with whole_file(output, provenance) as temporary, temporary.open("wb") as file:
            writer = ContainerWriter(file, packed(header))

            def write(block: Block, made: CodedBlock) -> None:
                part = block.part if len(rows) > 1 else 0
                for count, coded in made.chunks:
                    writer.add(ChunkKind.ROWS, chunk_of(part, rows[part], count, coded))
                    rows[part] += count
                for regions in made.images:
                    for number, coded in enumerate(regions):
                        writer.add(ChunkKind.REGION, region_chunk(rows[0], number, coded))
                    rows[0] += 1
                if is_by_name:
                    absent.difference_update(block.index["file"].tolist())

            yield write
            left_out: tuple[int, ...] = ()
            if isinstance(header.form, ImagesForm) and absent:
                names = header.form.names
                left_out = tuple(at for at, name in enumerate(names) if name in absent)
            summary = Summary(rows=tuple(rows), absent=left_out)
            writer.add(ChunkKind.SUMMARY, summary.model_dump_json().encode())
            writer.finish()

    def can_set_aside(self, files: Files, kind: DataKind) -> bool:
        """Returns whether rows are files; in a table or an array every row keeps its place."""
        endings = get_kind(kind).ENDINGS
        return bool(endings) and files.endings <= set(endings)

    def check_parts(self, source: RowSource, folder: Path) -> None:
        """Refuses rows that could not be written again."""
        form_of(source, str(folder))

    def part_name(self, name: str, form: str | None) -> str:
        """Returns the file's own name with the ending of a compressed file."""
        if form is not None:
            raise UsageError("--form is for tables of results; leave it out")
        return f"{name}{ENDING}"

    def one_of(self, files: Files, number: int) -> Files:
        """Returns one file, for which one file is written."""
        name = files.called(number) if files.is_folder else files.name
        one = (files.names[number],)
        return replace(
            files, name=name, names=one, addresses=(files.addresses[number],), is_folder=False
        )

    def writes_no_rows(self) -> bool:
        """Returns `True`: a file without rows has a header and a summary."""
        return True

    @contextmanager
    def open_exact(
        self,
        form: ExactForm,
        quality: float | None,
        tally: ExactTally,
        output: Path,
        provenance: Provenance,
    ) -> Iterator[Callable[[bytes], None]]:
        """Gives a function that writes the content of a chunk of files with all their columns."""
        header = self._header(form, provenance, quality)
        with whole_file(output, provenance) as temporary, temporary.open("wb") as file:
            writer = ContainerWriter(file, packed(header))
            yield lambda content: writer.add(ChunkKind.EXACT, content)
            summary = Summary(
                rows=tuple(tally.rows),
                columns=tally.columns,
                parquet_chunks=tally.parquet_chunks,
            )
            writer.add(ChunkKind.SUMMARY, summary.model_dump_json().encode())
            writer.finish()

    def _header(self, form: Form, provenance: Provenance, quality: float | None) -> Header:
        assert self.pair is not None  # noqa: S101 (the job sets it)
        manifest, module = self.pair.manifest, cast("CodedAutoencoder", self.pair.module)
        return Header(
            pair_id=manifest.pair_id,
            model=self.pair.reference,
            variant=manifest.plan.variant.name,
            isthmus_version=metadata.version("isthmus"),
            created=provenance.created,
            source=called_in(provenance),
            kind=manifest.plan.kind,
            row_shape=manifest.plan.row_shape,
            quality=module.settled_quality(quality),
            form=form,
        )


def called_in(provenance: Provenance) -> str:
    """Returns what a provenance calls the input."""
    return str(provenance.extra.get("input", ""))

"""JSON lines: an object for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as ds

from isthmus.data.tables._files import TypedFile


class Jsonl(TypedFile):
    """A file of JSON lines. Source: https://jsonlines.org. The first block tells the types."""

    ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.bz2", ".jsonl.zst")

    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""
        return ds.JsonFileFormat()

    def count(self) -> int | None:
        """Returns `None`: only reading to the end tells the number of rows."""
        return None

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Reads columns; see `TableFormat.batches`."""
        for table in super().batches(numbers, texts, rows, as_is):
            # The blocks of a file, which pyarrow does not cut.
            for first in range(0, table.num_rows, rows):
                yield table.slice(first, rows)

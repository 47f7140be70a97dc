"""Apache Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from isthmus.data.tables._files import TypedFile

_BUFFER_BYTES = 1 << 20
_LARGE_FILE_BYTES = 1 << 20


class Parquet(TypedFile):
    """A parquet file. Source: https://parquet.apache.org/docs/file-format/."""

    ENDINGS = (".parquet", ".pq")

    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""
        return ds.ParquetFileFormat()

    def read_batches(
        self, dataset: ds.Dataset, columns: Sequence[str], rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Reads columns in batches, and holds no more than one: a scanner holds up to 64.

        A small file is read a column at a time, because a buffered read takes the memory that a
        damaged page claims to need, before it finds that the file has no such page.
        """
        is_large = self.path.stat().st_size > _LARGE_FILE_BYTES
        buffer_bytes = _BUFFER_BYTES if is_large else 0
        with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=buffer_bytes) as file:
            yield from file.iter_batches(rows, columns=list(columns))

    def indexes(self) -> frozenset[str]:
        """Returns the columns that pandas wrote as the index of a frame."""
        try:
            said = json.loads((self.schema().metadata or {}).get(b"pandas", b"{}"))
        except (ValueError, RecursionError):
            return frozenset()
        return frozenset(name for name in said.get("index_columns", []) if isinstance(name, str))

"""Apache Parquet."""

from __future__ import annotations

import json

import pyarrow.dataset as ds

from isthmus.data.tables._files import TypedFile

_BUFFER_BYTES = 1 << 20
_LARGE_FILE_BYTES = 1 << 20


class Parquet(TypedFile):
    """A parquet file. Source: https://parquet.apache.org/docs/file-format/."""

    ENDINGS = (".parquet", ".pq")

    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""
        return ds.ParquetFileFormat()

    def scan_options(self) -> ds.FragmentScanOptions:
        """Returns options by which pyarrow does not hold row groups whole: memory stays bounded.

        A small file is read a column at a time instead, because a buffered read takes the memory
        that a damaged page claims to need, before it finds that the file has no such page.
        """
        is_large = self.path.stat().st_size > _LARGE_FILE_BYTES
        return ds.ParquetFragmentScanOptions(
            use_buffered_stream=is_large, buffer_size=_BUFFER_BYTES, pre_buffer=False
        )

    def indexes(self) -> frozenset[str]:
        """Returns the columns that pandas wrote as the index of a frame."""
        try:
            said = json.loads((self.schema().metadata or {}).get(b"pandas", b"{}"))
        except ValueError:
            return frozenset()
        return frozenset(name for name in said.get("index_columns", []) if isinstance(name, str))

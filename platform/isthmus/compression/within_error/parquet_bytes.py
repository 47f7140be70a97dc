"""Tables as a parquet in memory: what has no better code, and what codes smaller so."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.compression import bounded
from isthmus.errors import DataError

_LEVEL = 19


def as_parquet(table: pa.Table, level: int = _LEVEL) -> bytes:
    """Returns a table as a parquet with zstd, without its metadata."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(None), sink, compression="zstd", compression_level=level,
        store_schema=False,
    )  # fmt: skip
    return bytes(sink.getvalue())


def from_parquet(data: bytes, schema: pa.Schema) -> pa.Table:
    """Returns the table of a parquet.

    Raises:
        DataError: If it is damaged, or has other columns or more rows than a chunk.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if file.metadata.num_rows > bounded.MOST_ROWS:
            raise DataError(f"a chunk has {file.metadata.num_rows} rows; it is damaged")
        found = file.read()
        if found.column_names != schema.names:
            raise DataError("a chunk has other columns than the table; it is damaged")
        return found.cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"a chunk holds no parquet ({error}); it is damaged") from error

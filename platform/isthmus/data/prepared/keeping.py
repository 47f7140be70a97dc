"""Rows that Python holds, kept in a file that training reads like any other."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from isthmus.data.given import array_of, is_frame
from isthmus.data.storage.digest import sha256_of
from isthmus.errors import DataError


@dataclass(frozen=True)
class KeptRows:
    """A file of rows.

    Attributes:
        path: The file.
        is_new: Whether it was not there before.
    """

    path: Path
    is_new: bool


def keep_rows(rows: Any, folder: Path) -> KeptRows:
    """Writes rows to a file that is named by a hash of its content, unless it is there already.

    It stays there: a run that is resumed, and whoever asks where a pair came from, need it.

    Args:
        rows: A frame of pandas, polars or Arrow, which becomes a parquet; the index of pandas' is
            left out. Or an array or a tensor, which becomes an npy.
        folder: The folder of such files, which is made if need be.

    Raises:
        DataError: If the rows are neither, or the folder cannot be written to.
    """
    suffix = ".parquet" if is_frame(rows) else ".npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".rows-", dir=folder) as name:
            written = Path(name) / f"rows{suffix}"
            _write(rows, written)
            kept = folder / f"{sha256_of(written)[:16]}{suffix}"
            is_new = not kept.exists()
            if is_new:
                written.replace(kept)
    except OSError as error:
        raise DataError(
            f"{folder}: rows cannot be kept there: {error.strerror}; set ISTHMUS_HOME to a folder "
            "that can be written to"
        ) from error
    return KeptRows(kept, is_new)


def _write(rows: Any, path: Path) -> None:
    if is_frame(rows):
        from isthmus.data.frames import Frame  # it loads narwhals

        pq.write_table(Frame(rows).table(), path)
        return
    if isinstance(rows, str | Path):
        raise DataError(f'data is of rows, and "{rows}" is a path; give it as data.path of the job')
    values = array_of(rows)
    if values.ndim < 2:
        raise DataError(
            f"data of shape {values.shape} are no rows; give a frame, or an array of shape "
            "(rows, ...)"
        )
    np.save(path, values)

"""A table that is not read into memory: the files of a folder or of a glob, or one large file."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.data.matrix import form_to_train
from isthmus.data.storage import (
    AUDIO_ENDINGS,
    IMAGE_ENDINGS,
    TABLE_ENDINGS,
    Source,
    list_files,
    locate,
)
from isthmus.data.stream import Block
from isthmus.data.table_layout import TableForm
from isthmus.data.table_stream import TableStream
from isthmus.data.tables import column_names, row_count
from isthmus.errors import DataError, nearest
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode

_GLOB_SIGNS = frozenset("*?[")


@dataclass(frozen=True, eq=False)
class TableFiles:
    """The files of a table, in order, each read a block of rows at a time.

    Any process can have it: what travels are the names of the files.

    Attributes:
        name: The table, as the user wrote it; messages name this.
        paths: Its files: local, or `s3://`, which a reader copies to its own machine.
        columns: The columns that the rows hold.
        spec: The job's data.
    """

    name: str
    paths: tuple[str, ...]
    columns: tuple[str, ...]
    spec: DataSpec

    def blocks(self, path: str) -> Iterator[Block]:
        """Reads one of the files, in blocks of shape (n, F); nothing of a file without rows.

        Raises:
            DataError: If it cannot be read, lacks a column, or cannot be trained on as it is.
        """
        source = locate(path)
        self._refuse_absent(source)
        if len(self.paths) > 1 and row_count(source) == 0:
            return
        yield from TableStream(TableForm(source, self.columns), self.spec, None).blocks()

    def settled(self) -> DataSpec:
        """Returns the job's data with nothing left open."""
        scaling = ScalingMode.STANDARD if self.spec.scaling == "auto" else self.spec.scaling
        settled = {"kind": DataKind.TABULAR, "scaling": scaling, "columns": self.columns}
        return self.spec.model_copy(update=settled)

    def _refuse_absent(self, source: Source) -> None:
        names = column_names(source)
        for column in self.columns:
            if column not in names:
                raise DataError(
                    f'{source.name}: no column "{column}", which {self.paths[0]} has; '
                    f"{nearest(column, names)}"
                )


def open_table_files(spec: DataSpec) -> TableFiles | None:
    """Finds the table that a folder, a glob or an S3 prefix holds.

    Returns:
        `None` if the path is one file, or holds something else than csv and parquet.

    Raises:
        DataError: If there are such files, and the job asks for what is not read from several.
    """
    if spec.kind not in ("auto", DataKind.TABULAR):
        return None
    paths = _listed(spec.path)
    if not paths:
        return None
    _refuse_what_needs_memory(spec)
    form = form_to_train(locate(paths[0]), spec)
    return TableFiles(spec.path, tuple(paths), form.columns, spec)


def _listed(path: str) -> list[str]:
    if path.startswith("s3://"):
        if path.lower().endswith((*TABLE_ENDINGS, *IMAGE_ENDINGS, *AUDIO_ENDINGS, ".npz", ".npy")):
            return []
        from isthmus.data.s3 import list_objects

        names = list_objects(path)
        return names if all(each.lower().endswith(TABLE_ENDINGS) for each in names) else []
    local = Path(path).expanduser()
    if local.is_dir():
        source = Source(path, local)
        try:
            names = list_files(
                source, (*TABLE_ENDINGS, *IMAGE_ENDINGS, *AUDIO_ENDINGS), "csv or parquet"
            )
        except DataError:
            return []  # what else the folder may hold is said elsewhere
        is_table = all(name.lower().endswith(TABLE_ENDINGS) for name in names)
        return [str(local / name) for name in names] if is_table else []
    if _GLOB_SIGNS & set(path) and not local.exists():
        found = sorted(glob.glob(str(local), recursive=True))  # noqa: PTH207 (takes an absolute one)
        names = [each for each in found if each.lower().endswith(TABLE_ENDINGS)]
        if not names:
            raise DataError(f"{path}: no csv or parquet has such a name; list the folder to see")
        return names
    return []


def _refuse_what_needs_memory(spec: DataSpec) -> None:
    for field, value in (
        ("categories", spec.categories),
        ("paired_path", spec.paired_path),
        ("keep_labels", spec.keep_labels),
    ):
        if value:
            raise DataError(
                f"{spec.path}: data.{field} is read from one file only, and this is a folder of "
                f"tables; write them to one file, or leave out data.{field}"
            )
    if spec.missing == "mean" and spec.scaling not in ("auto", ScalingMode.STANDARD):
        raise DataError(
            f"data.missing: mean needs data.scaling: standard, not {spec.scaling}, whose zero is "
            "not the mean; set data.scaling to standard, or data.missing to drop"
        )

"""The input of a job, or a part of it; it is never replaced by the output, whatever its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus.data import Block, Files, locate, sidecar_path
from isthmus.data.storage.files import is_in_s3
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.spec.paths import expanded, is_local
from isthmus.spec.secrets import without_password
from isthmus.types import Shape

TABLES_BESIDE = ("rejected", "ranges")
"""The names of the tables that uses write beside their output: rejected rows, and what each use has
in `Use.TABLES_BESIDE`."""


@dataclass(frozen=True)
class InputPart:
    """Some files of a job's input, whose results are a part of the job's.

    Attributes:
        files: These files.
        noted: The notes of the part's provenance besides that of the job.
    """

    files: Files
    noted: Mapping[str, object]


def files_of(source: str, part: InputPart | None) -> Files:
    """Returns the files of an input, or those of a part of it.

    Raises:
        DataError: If there is no such file.
    """
    return locate(without_password(source)) if part is None else part.files


def no_rows(data: DataSpec, row_shape: Shape) -> Block:
    """Returns a block of no rows of a table of several, for a part that has none.

    Args:
        data: The settled data section that the pair was trained with.
        row_shape: The shape of its rows.
    """
    return Block(
        np.empty((0, *row_shape), dtype=np.float32),
        {"file": np.empty(0, dtype=np.str_), "row": np.empty(0, dtype=np.int64)},
        reasons=np.empty(0, dtype=np.str_) if data.categories else None,
    )


def refuse_replaced_input(source: str | Sequence[str], output: str | Path) -> None:
    """Refuses an output that is the input, holds it, lies in it, or is written beside by its name.

    Results replace what has their name, and what has that of a file that comes with them, such as
    the list of rows that were set aside. In a folder of rows, they would be read as rows next time.

    Args:
        source: The input: a file, a folder or a glob, or several of them.
        output: The path of the results.

    Raises:
        DataError: If the output would replace the input, or become part of it.
    """
    if is_in_s3(str(output)):
        _refuse_replaced_object(source, str(output))
        return
    target = Path(output).expanduser()
    for path in [source] if isinstance(source, str) else source:
        for each in (expanded(path) or [Path(path)]) if is_local(path) else ():
            why = _refusal(each, target)
            if why:
                raise DataError(f"{output}: {why}; name another output")


def _refuse_replaced_object(source: str | Sequence[str], output: str) -> None:
    there = output.rstrip("/")
    for path in [source] if isinstance(source, str) else source:
        here = path.rstrip("/")
        why = None
        if here == there:
            why = f"is the input {path}, which the results would replace"
        elif there.startswith(f"{here}/"):
            why = f"lies in the input {path}, so the results would be read as rows next time"
        elif here.startswith(f"{there}/"):
            why = f"holds the input {path}, which would be lost where results replace it"
        elif _comes_with(here, there):
            why = _beside(path)
        if why:
            raise DataError(f"{output}: {why}; name another output")


def _refusal(source: Path, target: Path) -> str | None:
    try:
        here, there = source.resolve(), target.resolve()
        # The same file may have two names by a link, which resolving does not tell of a hard one.
        is_same = here == there or (target.exists() and target.samefile(source))
    except (OSError, RuntimeError):  # a path that leads in a circle, or may not be read
        return None
    if is_same:
        return f"is the input {source}, which the results would replace"
    if there.is_relative_to(here):
        return f"lies in the input {source}, so the results would be read as rows next time"
    if here.is_relative_to(there):
        return f"holds the input {source}, which would be lost where results replace it"
    if here.parent == there.parent and _comes_with(here.name, there.name):
        return _beside(source)
    return None


def _comes_with(name: str, output: str) -> bool:
    """Returns whether a file is written beside an output: a table, or the note of its pair.

    Tables are `OUTPUT.rejected.csv` and the like. Pictures go to a folder that is refused where it
    holds anything but earlier ones.
    """
    if "." not in output.rpartition("/")[2]:
        return False  # a folder, which holds all of its own
    note = sidecar_path(Path("_")).name.removeprefix("_")
    tables = {f"{output}.{table}.csv" for table in TABLES_BESIDE}
    return name in tables | {f"{written}{note}" for written in (output, *tables)}


def _beside(source: str | Path) -> str:
    return f"would be written with a file beside it that replaces the input {source}"

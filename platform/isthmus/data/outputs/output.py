"""Files and folders of results appear whole or not at all, with their provenance."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isthmus.data.outputs.provenance import FOLDER_PROVENANCE, Provenance, sidecar_path
from isthmus.data.storage.files import COMPRESSIONS, ending_of
from isthmus.errors import DataError

TABLE_OUTPUT_ENDINGS = (
    *(f"{kind}{packed}" for kind in (".csv", ".tsv", ".jsonl") for packed in ("", *COMPRESSIONS)),
    *(".ndjson", ".parquet", ".pq", ".feather", ".arrow"),
)
ARRAY_OUTPUT_ENDINGS = (".npz", ".npy")
_NAME_ANOTHER = "name another place"


def check_ending(output: Path, endings: tuple[str, ...], what: str) -> None:
    """Refuses an output file of another ending.

    Raises:
        DataError: Naming the endings that are possible for `what`.
    """
    found = ending_of(output.name)
    if found not in endings:
        ending = f'ending "{found}"' if found else "no ending"
        raise DataError(f"{output}: {ending}; {what} can be written as {', '.join(endings)}")
    try:
        is_folder = output.is_dir()
    except OSError as error:
        raise _cannot_write(output, error) from error
    if is_folder:
        raise DataError(f"{output}: is a folder; name a file")


def check_folder(output: Path, names: Iterable[str] = ()) -> None:
    """Refuses a folder that holds anything but earlier results, which may be replaced.

    Args:
        output: The folder.
        names: The names of the files that are to be written into it.

    Raises:
        DataError: If the name is a file's, or the folder has other things in it.
    """
    if ending_of(output.name) in _endings_with(names):
        raise DataError(
            f"{output}: is a file's name; the results of a folder are a folder: name that, or a "
            ".npz for one array"
        )
    try:
        if not output.exists():
            return
        is_folder = output.is_dir()
        is_taken = (
            is_folder and any(output.iterdir()) and not (output / FOLDER_PROVENANCE).is_file()
        )
    except OSError as error:
        raise _cannot_write(output, error) from error
    if not is_folder:
        raise DataError(f"{output}: is a file; name a new folder for the results")
    if is_taken:
        raise DataError(f"{output}: holds other files, which are not touched; name a new folder")


def _endings_with(names: Iterable[str]) -> set[str]:
    return {*TABLE_OUTPUT_ENDINGS, *ARRAY_OUTPUT_ENDINGS, *(ending_of(name) for name in names)}


def is_array_output(output: Path) -> bool:
    """Returns whether an output is a file of one array or of several."""
    return ending_of(output.name) in ARRAY_OUTPUT_ENDINGS


@contextmanager
def whole_file(
    output: Path, provenance: Provenance | None, advice: str = _NAME_ANOTHER
) -> Iterator[Path]:
    """Gives a path to write to; on success it becomes `output`, with its sidecar.

    Args:
        output: The file.
        provenance: The provenance of the file; `None` for a file that states it itself, as a page
            does.
        advice: The advice in the error of a place that cannot be written to.

    Raises:
        DataError: If the place cannot be written to.
    """
    _make_folder(output.parent, output, advice)
    temporary = output.with_name(f".{uuid.uuid4().hex}{output.suffix}")
    note = sidecar_path(temporary)
    try:
        yield temporary
        if provenance is not None:
            note.write_text(provenance.to_json() + "\n", encoding="utf-8")
            # The sidecar first: results that do not name their pair must not exist, even for a
            # moment.
            note.replace(sidecar_path(output))
        temporary.replace(output)
    except OSError as error:
        raise _cannot_write(output, error, advice) from error
    finally:
        # A read-only file system refuses to remove even what is not there.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
            note.unlink(missing_ok=True)


@contextmanager
def whole_folder(output: Path, provenance: Provenance) -> Iterator[Path]:
    """Gives a folder to write to; on success it becomes `output`, with `pair.json` in it.

    Raises:
        DataError: If the place cannot be written to, or holds other files.
    """
    check_folder(output)
    temporary = output.with_name(f".{uuid.uuid4().hex}")
    _make_folder(temporary, output)
    try:
        yield temporary
        note = temporary / FOLDER_PROVENANCE
        note.write_text(provenance.to_json() + "\n", encoding="utf-8")
        if output.exists():
            # A folder cannot be replaced by another in one step; the old one is kept until then.
            old = output.with_name(f".{uuid.uuid4().hex}")
            output.replace(old)
            temporary.replace(output)
            shutil.rmtree(old)
        else:
            temporary.replace(output)
    except OSError as error:
        raise _cannot_write(output, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_folder(folder: Path, output: Path, advice: str = _NAME_ANOTHER) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(output, error, advice) from error


def _cannot_write(output: Path, error: OSError, advice: str = _NAME_ANOTHER) -> DataError:
    # pyarrow's errors have the number of the system's, and a text that names our temporary file.
    reason = os.strerror(error.errno) if error.errno else error
    return DataError(f"{output}: cannot be written: {reason}; {advice}")

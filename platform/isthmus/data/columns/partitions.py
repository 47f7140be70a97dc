"""The columns that the folders of a partitioned table say, as Hive writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

from isthmus.data.storage.files import Files, is_in_s3
from isthmus.errors import DataError
from isthmus.spec import DataSpec

_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def partition_keys(files: Files, spec: DataSpec) -> list[dict[str, str]]:
    """Returns the columns that the folders of each file say: `year=2024/part.parquet`.

    They are the folders below the path; where it names no folder above them, such as a single
    file, all those right above the file.

    Raises:
        DataError: If there are none, or not the same keys for each file.
    """
    if not spec.partitions:
        return [{} for _ in files.names]
    found = [_keys_of(name.split("/")[:-1]) for name in files.names]
    if not any(found):
        folders = (reversed(_folders_of(address)) for address in files.addresses)
        right_above = [list(takewhile(lambda name: "=" in name, each)) for each in folders]
        found = [_keys_of(each[::-1]) for each in right_above]
    if not found[0]:
        raise DataError(
            f"{files.called(0)}: lies in no folder such as year=2024; leave out data.partitions"
        )
    _refuse_other_keys(files, found)
    return found


def partition_keys_like(files: Files, data: DataSpec, own: Sequence[str]) -> list[dict[str, str]]:
    """Returns these columns of files for a trained pair.

    A key that it needs may be said by any folder of a file's whole path, so that a new partition
    is scored alone.

    Args:
        files: The files.
        data: The data section of the pair.
        own: The columns of the first file.

    Raises:
        DataError: If the files do not lie in folders of the same keys.
    """
    if not data.partitions:
        return [{} for _ in files.names]
    needed = {*(data.columns or ()), data.time, data.series_id}.difference(own)
    found = []
    for name, address in zip(files.names, files.addresses, strict=True):
        below = _keys_of(name.split("/")[:-1])
        above = _keys_of(_folders_of(address))
        keys = {key: value for key, value in above.items() if key in needed or key in below}
        found.append(keys | below)
    _refuse_other_keys(files, found)
    return found


def _keys_of(folders: Sequence[str]) -> dict[str, str]:
    return {
        key: "" if value == _NO_PARTITION else unquote(value)
        for key, _, value in (name.partition("=") for name in folders)
        if value
    }


def _folders_of(address: str) -> list[str]:
    """Returns the names of all folders that a file lies in, the outermost first."""
    whole = address if is_in_s3(address) else Path(address).absolute().as_posix()
    return whole.split("/")[:-1]


def _refuse_other_keys(files: Files, found: Sequence[Mapping[str, str]]) -> None:
    for place, keys in enumerate(found):
        if list(keys) != list(found[0]):
            like = ", ".join(f"{key}={value}" for key, value in found[0].items())
            raise DataError(
                f"{files.called(place)}: lies in no folders like those of {files.called(0)} "
                f"({like or 'none such as year=2024'}); name the files of one layout"
            )

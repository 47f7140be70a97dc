"""The second view of each row: its clean version, or another noisy measurement of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from isthmus.data import kinds
from isthmus.data.kinds import UseOptions
from isthmus.data.opening import locate, open_files
from isthmus.data.prepared.splits import hash_rows
from isthmus.data.room import COPIES_TO_SPLIT, room_to_train
from isthmus.data.rows import FloatArray, IndexArray, Rows, RowSource, collect
from isthmus.data.storage.files import Files
from isthmus.errors import DataError
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec, RowSchema

_SHOWN = 3


def open_partner(data: DataSpec, schema: RowSchema) -> RowSource | None:
    """Opens the second view of the rows, in the order of the first; `None` if there is none.

    Clean files of images or sounds are found by the names of the noisy ones; their endings may
    differ, as a noisy jpg may come of a clean png.

    Args:
        data: The spec as `open_rows` returned it.
        schema: The schema of the rows of the first view.

    Raises:
        DataError: If it cannot be read, or has no partner for one of the files.
    """
    path = data.partner_path
    if path is None:
        return None
    if data.keep_labels is not None or data.missing == "drop":
        raise DataError(
            f"data.{data.partner_field} needs every row in its place; leave out data.keep_labels "
            "and data.missing: drop"
        )
    files = locate(path)
    if data.clean_path is not None and data.kind != "auto":
        noisy, endings = locate(data.path), set(kinds.get(data.kind).ENDINGS)
        if noisy.is_folder and noisy.endings <= endings and files.endings <= endings:
            files = _of_the_same_names(files, noisy)
    return open_files(data, files, schema, UseOptions(begins_as_training=True))


def read_partner_rows(data: DataSpec, rows: Rows) -> Rows | None:
    """Reads the second view of rows into memory, in the same order; `None` if there is none.

    Raises:
        DataError: As `open_partner`, and if there are more or fewer rows, or more than fit into the
            memory, or windows of a file or a series that is longer or shorter.
    """
    source = open_partner(data, rows.schema)
    if source is None:
        return None
    # What the first view takes is not free any more.
    partners = collect(source, room_to_train(source, data, 2 * COPIES_TO_SPLIT - 1))
    _refuse_other_lengths(data, rows, partners)
    if len(partners) != len(rows):
        raise DataError(
            f"{data.partner_path}: {len(partners)} rows, and {data.shown_path} has {len(rows)}; "
            "both must measure the same things in the same order"
        )
    if np.array_equal(partners.values, rows.values, equal_nan=True):
        raise same_views(data)
    return partners


def split_by(data: DataSpec, rows: Rows, partners: Rows | None) -> Rows:
    """Returns the rows whose content decides the split: the clean ones where there are clean ones.

    All noisy versions of one clean row, or of one clean sound, are then in one part. Clean sounds
    are told apart by their samples, as a copy of one may lie beside each of its noisy versions.
    """
    if partners is None or data.clean_path is None:
        return rows
    groups = partners.groups
    if groups is not None:
        groups = _contents_of_files(partners.values, groups, partners.starts)
    return replace(rows, values=partners.values, groups=groups)


def _contents_of_files(
    values: FloatArray, groups: IndexArray, starts: IndexArray | None
) -> IndexArray:
    """Returns for each window, shape (N,), a hash of all windows of its file in their order."""
    hashes = hash_rows(values, 0)
    if starts is not None:
        hashes = hashes * (2 * starts.astype(np.uint64) + np.uint64(1))
    _, file = np.unique(groups, return_inverse=True)
    whole = np.zeros(int(file.max(initial=0)) + 1, dtype=np.uint64)
    np.add.at(whole, file, hashes)
    return whole[file].view(np.int64)


def same_views(data: DataSpec) -> DataError:
    """Returns the error for a second view that is the first: a net would learn to copy."""
    other = "the clean versions" if data.clean_path else "other measurements"
    return DataError(
        f"data.{data.partner_field}: {data.partner_path} holds the same as {data.shown_path}; name "
        f"the place of {other}"
    )


def _refuse_other_lengths(data: DataSpec, rows: Rows, partners: Rows) -> None:
    """Refuses windows of two recordings of different lengths, which would be paired at random."""
    if rows.starts is None or rows.lengths is None:
        return
    if partners.starts is None or partners.lengths is None:
        return
    shared = slice(0, min(len(rows), len(partners)))
    differ = np.flatnonzero(
        (rows.starts[shared] != partners.starts[shared])
        | (rows.lengths[shared] != partners.lengths[shared])
    )
    if len(differ):
        place = int(differ[0])
        unit = f"{facts_of(rows.schema.kind).place}s"
        raise DataError(
            f"{_called(partners, place, data.partner_path)}: has {partners.lengths[place]} {unit}, "
            f"and {_called(rows, place, data.shown_path)} has {rows.lengths[place]}; both must "
            "begin and end together: cut them to one length"
        )


def _called(rows: Rows, place: int, path: str | None) -> str:
    """Returns what messages call the recording that a window comes of."""
    parts = [f"{rows.index[name][place]}" for name in ("file", "series_id") if name in rows.index]
    return " of ".join([*reversed(parts), f"{path}"])


def _of_the_same_names(files: Files, noisy: Files) -> Files:
    """Returns those files that have the names of the noisy ones, in the order of these."""
    stems = [_stem(name) for name in files.names]
    twice = next((stem for stem, count in Counter(stems).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            f"{files.name}: has more than one file called {twice}, so that it cannot be told which "
            "is the clean one; leave one out"
        )
    place_of = {stem: place for place, stem in enumerate(stems)}
    missing = [name for name in noisy.names if _stem(name) not in place_of]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"{files.name}: has no clean version of {', '.join(missing[:_SHOWN])}{more} of "
            f"{noisy.name}; clean files have the names of the noisy ones"
        )
    places = [place_of[_stem(name)] for name in noisy.names]
    return replace(
        files,
        names=tuple(files.names[place] for place in places),
        addresses=tuple(files.addresses[place] for place in places),
    )


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))

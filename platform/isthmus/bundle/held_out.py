"""A sample of a pair's held-out rows: versions are judged on it, wherever the data are.

It is stored as `held_out/rows.safetensors` in the artifacts of the pair's run; `pair.json` holds
its sha256.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from isthmus.errors import RegistryError
from isthmus.spec import SpecModel

HELD_OUT_FILE = "rows.safetensors"
HELD_OUT_FOLDER = "held_out"
"""The folder of the run's artifacts that holds the file."""
Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
_BY: tuple[Literal["time", "file", "content"], ...] = ("time", "file", "content")


class HeldOutRecord(SpecModel):
    """The entry of `pair.json` about the sample of held-out rows."""

    sha256: str
    """The sha256 of the file."""
    rows: int
    """The number of held-out rows in it."""
    others: int
    """The number of rows with labels that the job does not keep."""


@dataclass(frozen=True, eq=False)
class Places:
    """The positions of held-out windows of series or sounds, and of those that were trained on.

    Tables and images need none of this: the part of the split that a row is in follows from its
    content and the seed. Patches have those of the images that they are cut out of.

    Attributes:
        by: `time` if one signal is split by time, `file` if files or images are, `content` if
            sounds are split by that of their clean versions.
        of_rows: Shape (N,). The first step of each held-out window, or the number of its file, or
            the hash of its clean file; of a patch the hash of its image.
        trained: The step at which the trained part ends, shape (1,), or the numbers of all files
            that were trained on.
        origin: A hash of the signal's first window, by which two signals with the same beginning
            are recognised; 0 for files.
    """

    by: Literal["time", "file", "content"]
    of_rows: NDArray[np.int64]
    trained: NDArray[np.int64]
    origin: int = 0

    def take(self, kept: NDArray[np.int64]) -> Places:
        """Returns the places of some of the rows only."""
        return Places(self.by, self.of_rows[kept], self.trained, self.origin)

    def are_told_by(self, other: Places) -> bool:
        """Returns whether another pair's places tell which of these it was trained on."""
        return self.by == other.by and self.origin == other.origin

    def unseen_by(self, other: Places) -> NDArray[np.bool_]:
        """Returns for each row whether a pair cannot have trained on it, given that pair's places.

        Windows of signals with another beginning cannot be told from those that it trained on.
        """
        if not self.are_told_by(other):
            return np.zeros(len(self.of_rows), dtype=bool)
        if self.by == "time":
            return np.asarray(self.of_rows >= other.trained.max(initial=0))
        return ~np.isin(self.of_rows, other.trained)


@dataclass(frozen=True, eq=False)
class HeldOutSample:
    """Rows that a pair was not trained on, in data units. Missing values are NaN.

    Attributes:
        rows: Shape (N, *row_shape).
        others: Shape (M, *row_shape). Rows with labels that the job does not keep, which detection
            is to find; empty if there are none.
        offset: The offset of the pair's scaling, broadcastable to a row.
        scale: The scale of the pair's scaling, broadcastable to a row.
        pca_errors: Shape (N,). The mean squared error of PCA on each row, scaled units; empty if
            there is no PCA of the same size.
        pca_components: The number of components of that PCA, as many as the code has values; 0 if
            there is none.
        places: The positions of the rows, for windows of series and sounds and for patches.
        clean: Shape (N, *row_shape). The same rows without noise, where the rows have noise of
            their own.
        is_of_noisy: Whether `pca_errors` are those of the rows with noise, for pairs that denoise.
        filtered: Shape (N,). What the classical filter makes of each row with noise, in the measure
            of the kind of data; NaN for rows that were not filtered.
        white: The value of white, for images whose source says it.
    """

    rows: Floats
    others: Floats
    offset: Floats
    scale: Floats
    pca_errors: Numbers
    pca_components: int
    places: Places | None = None
    clean: Floats | None = None
    is_of_noisy: bool = False
    filtered: Numbers | None = None
    white: float | None = None

    def take(self, kept: NDArray[np.bool_], kept_others: NDArray[np.bool_]) -> HeldOutSample:
        """Returns the sample with some of its rows and of its others only."""
        return replace(
            self,
            rows=self.rows[kept],
            others=self.others[kept_others],
            pca_errors=self.pca_errors[kept] if len(self.pca_errors) else self.pca_errors,
            places=None if self.places is None else self.places.take(np.flatnonzero(kept)),
            clean=None if self.clean is None else self.clean[kept],
            filtered=None if self.filtered is None else self.filtered[kept],
        )

    @property
    def peak(self) -> float:
        """The highest possible value less the lowest, in scaled units, for the PSNR.

        Where white is not known it is the range of the rows without noise.
        """
        rows = self.rows if self.clean is None else self.clean
        return peak_of(rows, self.white, self.scale)


def peak_of(rows: Floats, white: float | None, scale: Floats) -> float:
    """Returns the highest possible value less the lowest, in scaled units; 1 if there is none.

    Args:
        rows: Rows without noise, in data units; their range is taken where white is not known.
        white: The value of white, if the rows are images whose source says it; black is 0.
        scale: The scale of the pair's scaling, broadcastable to a row.
    """
    if white is not None:
        return float(white / np.mean(scale))
    scaled = rows / scale
    return (float(np.nanmax(scaled) - np.nanmin(scaled)) if scaled.size else 1.0) or 1.0


def squared_errors(made: Floats, rows: Floats, scale: Floats) -> Numbers:
    """Returns the mean squared distance of each row from an output, shape (N,).

    The distances are in scaled units. Missing values are ignored.
    """
    difference = ((made - rows) / scale).reshape(len(rows), -1)
    return np.asarray(np.nanmean(difference**2, axis=1, dtype=np.float64))


def write_held_out(sample: HeldOutSample, folder: Path) -> Path:
    """Writes a sample into a folder; returns the path of the file."""
    tensors = {
        "rows": sample.rows,
        "others": sample.others,
        "offset": sample.offset,
        "scale": sample.scale,
        "pca_errors": sample.pca_errors,
        "pca_components": np.array([sample.pca_components], dtype=np.int64),
    }
    if sample.clean is not None:
        tensors["clean"] = sample.clean
    if sample.white is not None:
        tensors["white"] = np.array([sample.white], dtype=np.float64)
    if sample.is_of_noisy:
        tensors["is_of_noisy"] = np.array([1], dtype=np.int64)
    if sample.filtered is not None:
        tensors["filtered"] = sample.filtered
    if sample.places is not None:
        place = sample.places
        tensors["places.of_rows"], tensors["places.trained"] = place.of_rows, place.trained
        tensors["places.by"] = np.array([_BY.index(place.by)], dtype=np.int64)
        tensors["places.origin"] = np.array([place.origin], dtype=np.uint64)
    file = folder / HELD_OUT_FILE
    # safetensors writes an array's memory as it lies, so a view would be stored wrong.
    save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, file)
    return file


def read_held_out(file: Path) -> HeldOutSample:
    """Reads a sample whose sha256 was checked.

    Raises:
        RegistryError: If another Isthmus wrote other contents.
    """
    try:
        found = load_file(file)
        places = None
        if "places.by" in found:
            places = Places(
                by=_BY[int(found["places.by"][0])],
                of_rows=found["places.of_rows"],
                trained=found["places.trained"],
                origin=int(found["places.origin"][0]),
            )
        names = ("rows", "others", "offset", "scale", "pca_errors")
        arrays = {name: found[name] for name in names}
        return HeldOutSample(
            **arrays,
            pca_components=int(found["pca_components"][0]),
            places=places,
            clean=found.get("clean"),
            is_of_noisy="is_of_noisy" in found,
            filtered=found.get("filtered"),
            white=float(found["white"][0]) if "white" in found else None,
        )
    except (SafetensorError, KeyError, IndexError) as error:
        raise RegistryError(
            f"{file.name} holds no sample of held-out rows that this Isthmus can read; upgrade "
            "isthmus, or train the pair again"
        ) from error

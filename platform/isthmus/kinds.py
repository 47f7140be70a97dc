"""The facts of each kind of data: the words for its rows, what `auto` means for them.

A kind is one file of `data/kinds/`, which says them in `FACTS`. They are read from its source, so
that to ask for one imports no reader of files.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from isthmus.declarations import declaration
from isthmus.types import LevelUnit, ScalingMode

ShownAs = Literal["numbers", "curves", "pictures", "sounds"]
SplitBy = Literal["content", "time", "file"]
NoiseFilter = Literal["non-local means", "a Wiener filter"]
NoiseMeasure = Literal["psnr", "si_sdr", "error"]


@dataclass(frozen=True, kw_only=True)
class KindFacts:
    """The facts of a kind of data.

    Attributes:
        like: Another kind that these rows are like: what takes it, as nets and corruptions say in
            `KINDS`, takes this one too. `None` if they are like no other.
        words: The words for rows, with `{shape}` in the place of their shape.
        feature: The word for one of those parts of a row that have a name and a unit of their own;
            `None` if all numbers of a row have one unit.
        place: The word for one of the places of a row at which each channel has a value: a pixel, a
            step; the row itself where it has features and no places.
        shown_as: The form in which a person looks at a row.
        are_windows: Whether rows are windows of a signal, shape (C, T), in the order of time.
        from_tables: Whether rows are read from tables, whose columns have names.
        split_by: The means by which rows are held out: a hash of each row, the time, or a hash of
            the file.
        fields: The fields of a job's `data` that are for this kind, or for few.
        scaling: The scaling that `data.scaling: auto` means.
        net: The net that `net: auto` means.
        noisy_net: The net that it means for variants that remove noise; `None`: `net`.
        any_size_net: The net that it means for rows of any size, if there are such rows.
        coded_any_size_net: The net that it means for rows of any size that are coded to files.
        score: The score that `scoring: auto` means.
        level_in: The unit of the noise whose level is `auto`, if the noise can have it.
        noise_filter: The filter that takes noise away without training; `None` if there is none.
        noise_measure: The measure that people use for rows whose noise was taken away.
    """

    like: str | None = None
    words: str = "rows of shape {shape}"
    feature: str | None = None
    place: str = "row"
    shown_as: ShownAs = "numbers"
    are_windows: bool = False
    from_tables: bool = False
    split_by: SplitBy = "content"
    fields: tuple[str, ...] = ()
    scaling: ScalingMode = ScalingMode.STANDARD
    net: str = "dense"
    noisy_net: str | None = None
    any_size_net: str | None = None
    coded_any_size_net: str | None = None
    score: str = "kernel_denoising"
    level_in: LevelUnit = LevelUnit.SCALED
    noise_filter: NoiseFilter | None = None
    noise_measure: NoiseMeasure = "error"


def facts_of(kind: str) -> KindFacts:
    """Returns the facts of a kind, which is not `auto` any more."""
    found: KindFacts = declaration("data.kinds", kind).value("FACTS")
    return found


def is_taken(kind: str, kinds: Collection[str]) -> bool:
    """Returns whether what takes these kinds takes a kind: it is one of them, or is like one."""
    return kind in kinds or facts_of(kind).like in kinds

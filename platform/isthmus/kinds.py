"""The facts of each kind of data: the words for its rows, what `auto` means for them.

A kind is one file of `data/kinds/`, which says them in `FACTS`. They are read from its source, so
that to ask for one imports no reader of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.declarations import declaration
from isthmus.types import LevelUnit, ScalingMode

NoiseFilter = Literal["non-local means", "a Wiener filter"]
NoiseMeasure = Literal["psnr", "si_sdr", "error"]


@dataclass(frozen=True, kw_only=True)
class KindFacts:
    """The facts of a kind of data.

    Attributes:
        scaling: The scaling that `data.scaling: auto` means.
        net: The net that `net: auto` means.
        noisy_net: The net that it means for variants that remove noise; `None`: `net`.
        any_size_net: The net that it means for rows of any size, if there are such rows.
        coded_any_size_net: The net that it means for rows of any size that are coded to files.
        score: The score that `scoring: auto` means.
        level_in: The unit of the noise whose level is `auto`, if the noise can have it.
        place: The word for one of the places of a row at which each channel has a value: a pixel, a
            step; the row itself where it has features and no places.
        noise_filter: The filter that takes noise away without training; `None` if there is none.
        noise_measure: The measure that people use for rows whose noise was taken away.
    """

    scaling: ScalingMode = ScalingMode.STANDARD
    net: str = "dense"
    noisy_net: str | None = None
    any_size_net: str | None = None
    coded_any_size_net: str | None = None
    score: str = "kernel_denoising"
    level_in: LevelUnit = LevelUnit.SCALED
    place: str = "row"
    noise_filter: NoiseFilter | None = None
    noise_measure: NoiseMeasure = "error"


def facts_of(kind: str) -> KindFacts:
    """Returns the facts of a kind, which is not `auto` any more."""
    found: KindFacts = declaration("data.kinds", kind).value("FACTS")
    return found

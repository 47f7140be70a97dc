"""The class that every corruption extends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import ClassVar

from torch import Tensor

from isthmus.spec import SpecModel
from isthmus.types import DataKind, LevelUnit


class Corruption(ABC):
    """A kind of noise, which is put on scaled rows.

    The noise is drawn from torch's global generator, so that a seed repeats it. A corruption keeps
    the shape of the rows, takes batches on any device, and never waits for values on a GPU.
    """

    class Config(SpecModel):
        """The corruption's own options, which the job file gives next to the corruption's name."""

    SUMMARY: ClassVar[str] = ""
    """A line that says what the noise is and what the level means."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that have such noise."""
    TAKES_A_SHARE: ClassVar[bool] = False
    """Whether the level is the share of a row's values that change."""
    NEEDS_UNIT_RANGE: ClassVar[bool] = False
    """Whether the noise is defined for rows in [0, 1] only, as `data.scaling: minmax` makes."""
    LEVELS_IN: ClassVar[tuple[LevelUnit, ...]] = (LevelUnit.SCALED,)
    """The units in which the level can be given. A level that is a standard deviation can also be
    in units of the data; if the noise has the same strength everywhere, also in dB of SNR."""
    HIGHEST_LEVEL: ClassVar[float] = inf
    """The highest level that makes sense, in scaled units."""
    AUTO_LEVELS: ClassVar[tuple[float, float]] = (0.05, 0.5)
    """The range of levels that `level: auto` means, of a standard deviation for rows in [0, 1]."""

    def __init__(self, options: SpecModel) -> None:
        """Creates a corruption with the options of its `Config`."""
        self.options = options

    @abstractmethod
    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Returns a corrupted copy of a batch.

        Args:
            x: The rows in scaled units, shape (B, *row).
            level: The strength of the noise: one number, or a tensor that broadcasts to the rows,
                of shape (B, 1, ..., 1) if each row has a level of its own.

        Returns:
            The corrupted rows, shape (B, *row).
        """

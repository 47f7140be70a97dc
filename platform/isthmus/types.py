"""Value types that cross the borders of rooms."""

from __future__ import annotations

from enum import StrEnum

Shape = tuple[int, ...]


class DataKind(StrEnum):
    """What one row of the data is, and so its shape."""

    TABULAR = "tabular"
    """(F,): F numeric features."""
    IMAGES = "images"
    """(C, H, W): channels, height, width."""
    SERIES = "series"
    """(C, T): C channels (csv columns), windows of T steps."""
    AUDIO = "audio"
    """(1, T): mono, windows of T samples, in [-1, 1]."""


class ScalingMode(StrEnum):
    """How values are scaled before the encoder, and back after the decoder."""

    STANDARD = "standard"
    """To zero mean and unit variance; per feature (tabular) or per channel (the others)."""
    MINMAX = "minmax"
    """To [0, 1]; per feature (tabular), per channel (series), over all values (the others)."""
    NONE = "none"
    """Left as they are."""


class ReconstructionLoss(StrEnum):
    """How the distance of a reconstruction from its input is measured."""

    MSE = "mse"
    BCE = "bce"
    L1 = "l1"
    HUBER = "huber"

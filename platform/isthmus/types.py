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
    """Squared error."""
    BCE = "bce"
    """Cross entropy of values in [0, 1]; the output passes a sigmoid."""
    L1 = "l1"
    """Absolute error: less blurred, and sturdy against outliers."""
    HUBER = "huber"
    """Squared below 1, absolute above."""
    GAUSSIAN_NLL = "gaussian_nll"
    """Negative log likelihood of a normal distribution whose variance is learned."""
    SSIM = "ssim"
    """1 - structural similarity; images in [0, 1]."""
    MS_SSIM = "ms_ssim"
    """The same over several scales."""
    SPECTRAL = "spectral"
    """Absolute error plus the distance of spectra; audio and series."""

    @property
    def is_elementwise(self) -> bool:
        """Whether each number has an error of its own; the others compare whole rows."""
        return self not in (
            ReconstructionLoss.SSIM,
            ReconstructionLoss.MS_SSIM,
            ReconstructionLoss.SPECTRAL,
        )

    @property
    def needs_unit_range(self) -> bool:
        """Whether the values must lie in [0, 1]."""
        return self in (
            ReconstructionLoss.BCE,
            ReconstructionLoss.SSIM,
            ReconstructionLoss.MS_SSIM,
        )

"""Value types that several packages share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

Shape = tuple[int, ...]
_KINDS = Path(__file__).parent / "data" / "kinds"


class DataKind(StrEnum):
    """The kind of one row of the data, which determines its shape."""

    _ignore_ = ["_members", "_name"]  # noqa: RUF012 (so that they are no kinds)

    TABULAR = "tabular"
    """(F,): F numeric features."""
    IMAGES = "images"
    """(C, H, W): channels, height, width."""
    SERIES = "series"
    """(C, T): C channels (csv columns), windows of T steps."""
    AUDIO = "audio"
    """(C, T): C channels, windows of T samples, in [-1, 1] unless the files hold floats."""

    # Each file of the room is a kind, found by its name; those that other modules name stand above.
    _members = vars()
    for _name in sorted(each.stem for each in _KINDS.glob("[a-z]*.py")):
        if _name.upper() not in _members:
            _members[_name.upper()] = _name


class ScalingMode(StrEnum):
    """The way in which values are scaled before the encoder, and scaled back after the decoder."""

    STANDARD = "standard"
    """Scales to zero mean and unit variance per feature (tabular) or channel (the others)."""
    MINMAX = "minmax"
    """Scales to [0, 1] per feature (tabular), channel (series) or over all values (the others)."""
    NONE = "none"
    """Leaves values as they are."""


class LevelUnit(StrEnum):
    """The unit of the level of a noise."""

    SCALED = "scaled"
    """The units of the scaled rows, or a share; the corruption says which."""
    DATA = "data"
    """The units of the data: 25 for pixels from 0 to 255."""
    SNR_DB = "snr_db"
    """The signal-to-noise ratio of each row in dB: its variance over the variance of the noise."""


class ReconstructionLoss(StrEnum):
    """The loss between a row and its reconstruction."""

    MSE = "mse"
    """Squared error."""
    BCE = "bce"
    """Cross entropy of values in [0, 1]; the output passes a sigmoid."""
    L1 = "l1"
    """Absolute error, which blurs less and is robust to outliers."""
    HUBER = "huber"
    """Squared error below 1, absolute error above."""
    GAUSSIAN_NLL = "gaussian_nll"
    """Negative log likelihood of a normal distribution whose variance is learned."""
    SSIM = "ssim"
    """1 - structural similarity; images in [0, 1]."""
    MS_SSIM = "ms_ssim"
    """1 - structural similarity over several scales; images in [0, 1]."""
    SPECTRAL = "spectral"
    """Absolute error plus the distance of spectra; audio and series."""
    SNR = "snr"
    """Minus the signal-to-noise ratio, by which quiet rows count as much as loud ones; audio and
    series."""

    @property
    def is_elementwise(self) -> bool:
        """Whether each value has an error of its own; the other losses compare whole rows."""
        return self not in (
            ReconstructionLoss.SSIM,
            ReconstructionLoss.MS_SSIM,
            ReconstructionLoss.SPECTRAL,
            ReconstructionLoss.SNR,
        )

    @property
    def needs_unit_range(self) -> bool:
        """Whether the values must lie in [0, 1]."""
        return self in (
            ReconstructionLoss.BCE,
            ReconstructionLoss.SSIM,
            ReconstructionLoss.MS_SSIM,
        )

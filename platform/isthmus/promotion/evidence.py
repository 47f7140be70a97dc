"""The evidence that the checks of the gate decide on, and the base class of a check.

A challenger passes a bound only if the whole 95 % interval of its difference is within it, and is
refused if the whole interval is beyond it. What lies between cannot be told from so few rows: it is
undecided. Of versions that are exactly at a bound, at most one in twenty passes it by chance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.core.noise_reduction import Measure
from isthmus.promotion.code_lengths import CodeLengths
from isthmus.promotion.intervals import Numbers
from isthmus.promotion.measures import Measured
from isthmus.promotion.verdict import Check, CheckVerdict
from isthmus.spec import PromotionSpec


@dataclass(frozen=True, eq=False)
class Noise:
    """The rows with noise that a denoiser is judged on.

    Attributes:
        measure: The measure of the kind of data.
        noisy: Shape (N,). The number of each row with noise by the measure.
        own_denoised: Shape (P,). That of each denoised row of the challenger's own sample; `None`
            for versions of an older Isthmus.
        filtered: Shape (P,). That of what the classical filter makes of the same rows, NaN for rows
            that were not filtered; `None` if there is no such filter.
        weakly_noisy: Shape (N,). The number of each row with the weakest noise of the range that
            the challenger is to take away; `None` if there is no range.
        weakly_denoised: Shape (N,). That of what the challenger makes of it.
    """

    measure: Measure
    noisy: Numbers
    own_denoised: Numbers | None = None
    filtered: Numbers | None = None
    weakly_noisy: Numbers | None = None
    weakly_denoised: Numbers | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """The measurements of a challenger and, if there is one, the champion.

    Attributes:
        bounds: The bounds of the challenger's job.
        seed: The random seed of every bootstrap.
        new: The challenger's measurements, on the rows that neither pair was trained on.
        old: The champion's, on the same rows; `None` if there is no champion.
        must_be_better: Whether the reconstruction error must be lower beyond chance, as for a
            retraining that nobody has looked at.
        own_errors: Shape (P,). The challenger's reconstruction errors on its own held-out rows.
        pca_errors: Shape (P,). PCA's errors on the same rows; empty if PCA of the same size says
            nothing.
        pca_components: The number of components of that PCA; 0 if there is none.
        noise: The rows with noise; `None` if the job does not take noise away.
        spread: Shape (N,). The mean squared distance of each row from the mean of all rows.
        seconds: Shape (rounds, 1 or 2). The seconds per row of the challenger, then the champion,
            measured in turns.
        map_error: The fraction of the variance of the champion's latents that the best map from
            the challenger's leaves unexplained; `None` if there is no map.
        finds_anomalies: Whether the challenger's threshold is to be relied on. It is not for a pair
            that was trained on patches without calibration rows, which is to denoise images, nor
            where the rows are smaller than the patches that one of the two scores.
    """

    bounds: PromotionSpec
    seed: int
    new: Measured
    old: Measured | None
    must_be_better: bool
    own_errors: Numbers
    pca_errors: Numbers
    pca_components: int
    noise: Noise | None
    spread: Numbers
    seconds: NDArray[np.float64]
    map_error: float | None
    finds_anomalies: bool = True

    @property
    def compared_codes(self) -> tuple[CodeLengths, CodeLengths] | None:
        """The bits of both pairs, the challenger's first, if rate and error are judged together.

        It is `None` unless both compress, and where the job is to take noise away.
        """
        old = None if self.old is None else self.old.code_lengths
        if self.noise is not None or old is None or self.new.code_lengths is None:
            return None
        return self.new.code_lengths, old


class GateCheck(ABC):
    """A check of the gate; each file of `checks/` holds one, and its stem is the check's name."""

    PLACE: ClassVar[int]
    """The place of the check in the table; the check with the lowest comes first."""

    @abstractmethod
    def judge(self, evidence: Evidence) -> Check | None:
        """Returns what the check finds; `None` if it does not apply to the job."""


def decide(
    low: float, high: float, bound: float, wanted: Literal["below", "up to", "from"]
) -> CheckVerdict:
    """Returns the verdict on an interval.

    Args:
        low: The lower end.
        high: The upper end.
        bound: The bound.
        wanted: The side of the bound on which the whole interval must lie: below it, up to it, or
            from it on.
    """
    if wanted == "from":
        return "passed" if low >= bound else "refused" if high < bound else "undecided"
    is_within = high < bound if wanted == "below" else high <= bound
    return "passed" if is_within else "refused" if low > bound else "undecided"

"""Is more noise taken away than a classical filter takes, which needs no training?"""

from __future__ import annotations

import numpy as np

from isthmus.promotion.evidence import Evidence, GateCheck
from isthmus.promotion.gains import compared
from isthmus.promotion.verdict import Check


class ClassicalFilter(GateCheck):
    """The denoised rows beside those of non-local means (images) or a Wiener filter.

    By default it informs only: a pair that learns by denoising may be there to detect or to embed.
    """

    PLACE = 48

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if the job does not take noise away, or no filter fits its rows."""
        noise = evidence.noise
        if noise is None or noise.own_denoised is None or noise.filtered is None:
            return None
        if not (np.isfinite(noise.filtered) & np.isfinite(noise.own_denoised)).any():
            return None
        return compared(
            "classical_filter",
            f"{noise.measure.words} beside a classical filter",
            noise.own_denoised,
            noise.filtered,
            noise,
            seed=evidence.seed,
            asked=evidence.bounds.beat_filter,
        )

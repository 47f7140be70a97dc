"""Is as much noise taken away?"""

from __future__ import annotations

import math

import numpy as np

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import Numbers, ratio
from isthmus.promotion.verdict import Check


class Denoising(GateCheck):
    """The gain in PSNR on held-out rows with the noise of the challenger's job."""

    PLACE = 50

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if the job does not take noise away."""
        made, noise = evidence.new.denoised_errors, evidence.noise
        if made is None or noise is None:
            return None
        value = _gained_db(noise, made)
        before = evidence.old.denoised_errors if evidence.old else None
        found = ratio(made, noise if before is None else before, seed=evidence.seed)
        low, high = _db(found.high), _db(found.low)
        if before is None:
            return Check(
                check="denoising",
                name="PSNR gained",
                value=value,
                low=low,
                high=high,
                unit="dB",
            )
        drop_db = evidence.bounds.max_psnr_drop_db
        return Check(
            check="denoising",
            name="PSNR gained",
            value=value,
            beside=_gained_db(noise, before),
            change=_db(found.value),
            low=low,
            high=high,
            bound=-drop_db,
            verdict=decide(low, high, -drop_db, "from"),
            unit="dB",
            scale="difference",
            power=found.chance_within(10 ** (drop_db / 10) - 1),
        )


def _gained_db(before: Numbers, after: Numbers) -> float:
    return float(10 * np.log10(before.mean() / after.mean()))


def _db(ratio_of_errors: float) -> float:
    """Returns the gain that a ratio of squared errors means."""
    if ratio_of_errors <= 0:
        return math.inf
    return 0.0 - 10 * math.log10(ratio_of_errors)

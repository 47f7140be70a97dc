"""Is the reconstruction error not above the champion's?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import ratio
from isthmus.promotion.verdict import Check, CheckVerdict


class ReconstructionError(GateCheck):
    """The reconstruction error beside the champion's; that of a retraining must be lower.

    Of a denoiser it is the error of what it makes of the rows with noise. Nothing is asked
    of two pairs that compress: they are judged by their error at an equal rate.
    """

    PLACE = 10

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if there is no champion."""
        if evidence.old is None:
            return None
        new, old = evidence.new.errors, evidence.old.errors
        found = ratio(new, old, seed=evidence.seed)
        low, high = found.low - 1, found.high - 1
        bound: float | None = 0.0 if evidence.must_be_better else evidence.bounds.max_error_increase
        if evidence.compared_codes is not None:
            bound = None
        return Check(
            check="reconstruction_error",
            name="reconstruction error" if evidence.noise is None else "error of denoised rows",
            value=float(new.mean()),
            beside=float(old.mean()),
            change=found.value - 1,
            low=low,
            high=high,
            bound=bound,
            verdict=_verdict(low, high, bound),
            scale="relative",
            power=found.chance_within(bound) if bound else None,
        )


def _verdict(low: float, high: float, bound: float | None) -> CheckVerdict:
    if bound is None:
        return "passed"
    return decide(low, high, bound, "up to" if bound else "below")

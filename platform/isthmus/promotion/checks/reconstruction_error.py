"""Is the reconstruction error not above the champion's?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import ratio
from isthmus.promotion.verdict import Check


class ReconstructionError(GateCheck):
    """The reconstruction error beside the champion's; that of a retraining must be lower."""

    PLACE = 10

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if there is no champion."""
        if evidence.old is None:
            return None
        new, old = evidence.new.errors, evidence.old.errors
        found = ratio(new, old, seed=evidence.seed)
        low, high = found.low - 1, found.high - 1
        bound = 0.0 if evidence.must_be_better else evidence.bounds.max_error_increase
        return Check(
            check="reconstruction_error",
            name="reconstruction error",
            value=float(new.mean()),
            beside=float(old.mean()),
            change=found.value - 1,
            low=low,
            high=high,
            bound=bound,
            verdict=decide(low, high, bound, "up to" if bound else "below"),
            scale="relative",
            power=found.chance_within(bound) if bound else None,
        )

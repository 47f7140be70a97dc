"""Is the reconstruction error not above the champion's, had both files the same length?"""

from __future__ import annotations

from isthmus.promotion.code_lengths import ratio_at_rate
from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.verdict import Check


class RateDistortion(GateCheck):
    """The reconstruction error at the champion's rate, for two pairs that compress.

    It takes the place of the bounds of the error alone: a version may need fewer bits at a larger
    error, or more bits at a smaller one, if the exchange is worth it.
    """

    PLACE = 15

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` unless both pairs compress and none is to take noise away."""
        compared = evidence.compared_codes
        if compared is None or evidence.old is None:
            return None
        ours, theirs = compared
        errors, beside = evidence.new.errors, evidence.old.errors
        found = ratio_at_rate(errors, beside, ours, theirs, seed=evidence.seed)
        low, high = found.low - 1, found.high - 1
        bound = 0.0 if evidence.must_be_better else evidence.bounds.max_error_increase
        bits = f"{ours.bits.mean():.4g} beside {theirs.bits.mean():.4g} bits a row"
        return Check(
            check="rate_distortion",
            name=f"error at equal rate ({bits})",
            value=found.value * float(beside.mean()) if beside.any() else float(errors.mean()),
            beside=float(beside.mean()),
            change=found.value - 1,
            low=low,
            high=high,
            bound=bound,
            verdict=decide(low, high, bound, "up to" if bound else "below"),
            scale="relative",
            power=found.chance_within(bound) if bound else None,
        )

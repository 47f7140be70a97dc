"""Is as much of the rows' variance kept?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import ratio
from isthmus.promotion.verdict import Check


class ExplainedVariance(GateCheck):
    """The explained variance, for jobs that neither detect nor denoise.

    Nothing is asked of two pairs that compress: they are judged by their error at an equal rate.
    """

    PLACE = 60

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` for jobs that detect or denoise."""
        new, old, spread = evidence.new, evidence.old, evidence.spread
        if len(new.other_scores) or evidence.noise is not None:
            return None
        value = float(1 - new.errors.mean() / spread.mean())
        if old is None:
            lost = ratio(new.errors, spread, seed=evidence.seed)
            return Check(
                check="explained_variance",
                name="explained variance",
                value=value,
                low=1 - lost.high,
                high=1 - lost.low,
                unit="score",
            )
        gain = ratio(old.errors - new.errors, spread, seed=evidence.seed)
        drop = evidence.bounds.max_explained_variance_drop
        is_asked = evidence.compared_codes is None
        return Check(
            check="explained_variance",
            name="explained variance",
            value=value,
            beside=float(1 - old.errors.mean() / spread.mean()),
            change=gain.value,
            low=gain.low,
            high=gain.high,
            bound=-drop if is_asked else None,
            verdict=decide(gain.low, gain.high, -drop, "from") if is_asked else "passed",
            unit="score",
            scale="difference",
            power=gain.chance_within(drop) if is_asked else None,
        )

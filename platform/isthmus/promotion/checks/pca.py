"""Is the reconstruction error below PCA's on the same rows?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import ratio
from isthmus.promotion.verdict import Check


class Pca(GateCheck):
    """The reconstruction error beside PCA's, which costs nothing.

    A version whose error is not lower is not worth a net, so it is refused whatever the interval.
    """

    PLACE = 20

    def judge(self, evidence: Evidence) -> Check:
        """Returns what is found, also if the job does not ask for it."""
        ours, theirs = evidence.own_errors, evidence.pca_errors
        found = ratio(ours, theirs, seed=evidence.seed)
        low, high = found.low - 1, found.high - 1
        verdict = decide(low, high, 0.0, "below")
        if found.value >= 1:
            verdict = "refused"
        return Check(
            check="pca",
            name=f"error beside PCA at {evidence.pca_components}",
            value=float(ours.mean()),
            beside=float(theirs.mean()),
            change=found.value - 1,
            low=low,
            high=high,
            bound=0.0 if evidence.bounds.beat_pca else None,
            verdict=verdict if evidence.bounds.beat_pca else "passed",
            scale="relative",
        )

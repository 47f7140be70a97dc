"""Is the reconstruction error below PCA's on the same rows?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import ratio
from isthmus.promotion.verdict import Check


class Pca(GateCheck):
    """The error beside that of PCA, which costs nothing; of rows with noise if it denoises.

    A version whose error is not lower is not worth a net, so it is refused whatever the interval.
    """

    PLACE = 20

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns what is found, also if the job does not ask for it.

        It is `None` where the code is as large as a row, of which PCA would lose nothing.
        """
        if not evidence.pca_components:
            return None
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

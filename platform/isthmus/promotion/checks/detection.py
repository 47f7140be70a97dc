"""Are the rows with other labels still told from the held-out rows?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import auroc_of
from isthmus.promotion.verdict import Check


class Detection(GateCheck):
    """The AUROC of held-out rows against rows with other labels."""

    PLACE = 40

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if there are no rows with other labels."""
        new, old = evidence.new, evidence.old
        if not len(new.other_scores):
            return None
        of_new = (new.scores, new.other_scores)
        alone = auroc_of(of_new)
        if old is None:
            return Check(
                check="detection",
                name="AUROC",
                value=alone.value,
                low=alone.low,
                high=alone.high,
                unit="score",
            )
        of_old = (old.scores, old.other_scores)
        gain, bound = auroc_of(of_new, of_old), -evidence.bounds.max_auroc_drop
        return Check(
            check="detection",
            name="AUROC",
            value=alone.value,
            beside=auroc_of(of_old).value,
            change=gain.value,
            low=gain.low,
            high=gain.high,
            bound=bound,
            verdict=decide(gain.low, gain.high, bound, "from"),
            unit="score",
            scale="difference",
            power=gain.chance_within(-bound),
        )

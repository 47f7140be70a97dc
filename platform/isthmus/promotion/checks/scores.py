"""Does every row get a score?"""

from __future__ import annotations

import numpy as np

from isthmus.promotion.evidence import Evidence, GateCheck
from isthmus.promotion.verdict import Check


class Scores(GateCheck):
    """The number of scores that are NaN; infinite ones pass, since a row may be that far away."""

    PLACE = 30

    def judge(self, evidence: Evidence) -> Check:
        """Returns the number over the held-out rows and the other rows."""
        new = evidence.new
        nans = int(np.isnan(new.scores).sum() + np.isnan(new.other_scores).sum())
        return Check(
            check="scores",
            name="scores that are NaN",
            value=nans,
            bound=0,
            verdict="refused" if nans else "passed",
            unit="count",
        )

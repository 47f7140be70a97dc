"""Are the p-values of normal rows uniform?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import distance_from_uniform
from isthmus.promotion.verdict import Check


class PValues(GateCheck):
    """The Kolmogorov-Smirnov distance of the p-values of held-out rows from uniform."""

    PLACE = 80

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns the distance; as large a one as the champion's is allowed.

        It is `None` for a pair that is to denoise alone.
        """
        if not evidence.finds_anomalies:
            return None
        found, allowed, beside = distance_from_uniform(evidence.new.p_values), 0.0, None
        if evidence.old is not None:
            beside = allowed = distance_from_uniform(evidence.old.p_values).value
        allowed = max(allowed, evidence.bounds.max_p_value_distance)
        return Check(
            check="p_values",
            name="distance of p-values from uniform",
            value=found.value,
            beside=beside,
            low=found.low,
            high=found.high,
            bound=allowed,
            verdict=decide(found.low, found.high, allowed, "up to"),
            unit="score",
        )

"""Are only few normal rows above the threshold?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import share
from isthmus.promotion.verdict import Check


class FalsePositives(GateCheck):
    """The share of held-out rows above the threshold."""

    PLACE = 70

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns the share; as many as the champion has are allowed.

        It is `None` for a pair that is to denoise alone.
        """
        if not evidence.finds_anomalies:
            return None
        found, allowed, beside = share(evidence.new.is_anomaly), 0.0, None
        if evidence.old is not None:
            beside = allowed = float(evidence.old.is_anomaly.mean())
        allowed = max(allowed, evidence.bounds.max_false_positive_rate)
        return Check(
            check="false_positives",
            name=f"rows above the threshold (nominal {100 * evidence.new.rate:.2g} %)",
            value=found.value,
            beside=beside,
            low=found.low,
            high=found.high,
            bound=allowed,
            verdict=decide(found.low, found.high, allowed, "up to"),
            unit="share",
        )

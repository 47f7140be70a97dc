"""Are only few normal rows above the threshold?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.intervals import share
from isthmus.promotion.verdict import Check

_COARSE = ", the least that its calibration rows tell, and therefore the bound"


class FalsePositives(GateCheck):
    """The share of held-out rows above the threshold."""

    PLACE = 70

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns the share; as many as the champion has are allowed, or as the threshold promises.

        So few calibration rows resolve no smaller share than that. It is `None` for a pair that is
        to denoise alone.
        """
        if not evidence.finds_anomalies:
            return None
        found, allowed, beside = share(evidence.new.is_anomaly), 0.0, None
        if evidence.old is not None:
            beside = allowed = float(evidence.old.is_anomaly.mean())
        asked, rate = evidence.bounds.max_false_positive_rate, evidence.new.rate
        is_coarse = rate > max(allowed, asked)
        allowed = max(allowed, asked, rate)
        return Check(
            check="false_positives",
            name=f"rows above the threshold (nominal {100 * rate:.2g} %{_COARSE * is_coarse})",
            value=found.value,
            beside=beside,
            low=found.low,
            high=found.high,
            bound=allowed,
            verdict=decide(found.low, found.high, allowed, "up to"),
            unit="share",
        )

"""Are the weights about as large as the champion's?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck
from isthmus.promotion.verdict import Check


class Size(GateCheck):
    """The number of bytes of the weights of both halves."""

    PLACE = 100

    def judge(self, evidence: Evidence) -> Check:
        """Returns the size beside the champion's."""
        new, old = evidence.new, evidence.old
        if old is None:
            return Check(check="size", name="size", value=new.size_bytes, unit="bytes")
        times, most = new.size_bytes / old.size_bytes, evidence.bounds.max_size_ratio
        return Check(
            check="size",
            name="size",
            value=new.size_bytes,
            beside=old.size_bytes,
            change=times,
            bound=most,
            verdict="passed" if times <= most else "refused",
            unit="bytes",
            scale="times",
        )

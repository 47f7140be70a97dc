"""Does a row take about as long as with the champion?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck
from isthmus.promotion.verdict import Check


class Latency(GateCheck):
    """The time to encode and decode a row.

    The shortest time of each pair counts, because a longer time in some rounds is the machine's
    fault, whichever of the two it affects.
    """

    PLACE = 90

    def judge(self, evidence: Evidence) -> Check:
        """Returns the time beside the champion's."""
        fastest_us = [1e6 * float(each) for each in evidence.seconds.min(axis=0)]
        if len(fastest_us) == 1:
            return Check(check="latency", name="latency", value=fastest_us[0], unit="us")
        times, most = fastest_us[0] / fastest_us[1], evidence.bounds.max_latency_ratio
        return Check(
            check="latency",
            name="latency",
            value=fastest_us[0],
            beside=fastest_us[1],
            change=times,
            bound=most,
            verdict="passed" if times <= most else "refused",
            unit="us",
            scale="times",
        )

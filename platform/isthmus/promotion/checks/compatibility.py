"""Can the champion's stored latents still be used?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck
from isthmus.promotion.verdict import Check


class Compatibility(GateCheck):
    """The share of the champion's latents that a map leaves unexplained, for stored latents.

    Without a map, because the version was registered beside another champion or none, stored
    latents would be lost, so the check is refused.
    """

    PLACE = 110

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if nobody asks for it, or there is no champion."""
        most, error = evidence.bounds.max_compatibility_error, evidence.map_error
        if most is None or evidence.old is None:
            return None
        return Check(
            check="compatibility",
            name="latents' variance that a map to the champion's loses",
            value=error,
            bound=most,
            verdict="passed" if error is not None and error <= most else "refused",
            unit="share",
        )

"""Is as much noise taken away as by the champion?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, decide
from isthmus.promotion.gains import gain_of
from isthmus.promotion.verdict import Check


class Denoising(GateCheck):
    """The gain on held-out rows with the noise of the challenger's job, beside the champion's."""

    PLACE = 50

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if the job does not take noise away, or there is no champion."""
        noise, ours = evidence.noise, evidence.new.denoised
        before = evidence.old.denoised if evidence.old else None
        if noise is None or ours is None or before is None:
            return None
        measure, seed, drop_db = noise.measure, evidence.seed, evidence.bounds.max_psnr_drop_db
        found = gain_of(measure, ours, before, seed=seed)
        return Check(
            check="denoising",
            name=f"{measure.words if measure.unit == 'dB' else 'SNR'} gained",
            value=gain_of(measure, ours, noise.noisy, seed=seed).value,
            beside=gain_of(measure, before, noise.noisy, seed=seed).value,
            change=found.value,
            low=found.low,
            high=found.high,
            bound=-drop_db,
            verdict=decide(found.low, found.high, -drop_db, "from"),
            unit="dB",
            scale="difference",
            power=found.chance_within(drop_db),
        )

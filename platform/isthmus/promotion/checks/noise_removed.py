"""Are the rows better after denoising than before?"""

from __future__ import annotations

from isthmus.promotion.evidence import Evidence, GateCheck, Noise
from isthmus.promotion.gains import compared
from isthmus.promotion.intervals import Numbers
from isthmus.promotion.verdict import Check


class NoiseRemoved(GateCheck):
    """The denoised rows beside the noisy rows: PSNR, SI-SDR or, of tables, the squared error.

    If the pair is to take away noise of a range of strengths, the worse of the two ends decides: a
    denoiser that takes strong noise away may ruin rows that have little.
    """

    PLACE = 45

    def judge(self, evidence: Evidence) -> Check | None:
        """Returns `None` if the job does not take noise away."""
        noise, ours = evidence.noise, evidence.new.denoised
        if noise is None or ours is None:
            return None
        weakly_noisy, weakly_denoised = noise.weakly_noisy, noise.weakly_denoised
        if weakly_noisy is None or weakly_denoised is None:
            return _at("", ours, noise.noisy, evidence, noise)
        return max(
            _at(", strongest noise", ours, noise.noisy, evidence, noise),
            _at(", weakest noise", weakly_denoised, weakly_noisy, evidence, noise),
            key=_harm,
        )


def _at(level: str, ours: Numbers, noisy: Numbers, evidence: Evidence, noise: Noise) -> Check:
    return compared(
        "noise_removed",
        f"{noise.measure.words} of denoised rows beside noisy ones{level}",
        ours,
        noisy,
        noise,
        seed=evidence.seed,
        asked=evidence.bounds.must_denoise,
    )


def _harm(check: Check) -> tuple[int, float]:
    """Returns how bad a check is: its verdict, and, of equal verdicts, what was lost."""
    change = check.change or 0.0
    loss = -change if check.unit == "dB" else change
    return (("passed", "undecided", "refused").index(check.verdict), loss)

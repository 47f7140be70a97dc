"""The checks that a challenger must pass.

Against the champion, the burden of proof is on the gate: a person had reasons to promote, so a
version is refused only if the whole 95 % interval is on the wrong side of its bound. In a single
check, chance alone refuses about one in forty of the versions that are exactly at the bound. It
refuses more of them if there are few rows, for which bootstrap intervals are too narrow, and if
there are several checks.

A retraining has no reasons other than its metrics, so there the burden of proof is on the
challenger: its reconstruction error must also be lower beyond chance. PCA costs nothing, so a
version whose error on these rows is not lower than PCA's, whatever the interval, is not worth a
net.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.promotion.bootstrap import (
    Interval,
    Numbers,
    auroc,
    auroc_gain,
    improvement,
    once,
    resampled,
)
from isthmus.promotion.measures import Measured
from isthmus.promotion.verdict import Check
from isthmus.spec import PromotionSpec

_NOMINAL = 0.01
# The 95 % quantile of Kolmogorov's distribution: the distance that 95 % of samples of N rows stay
# within, times the root of N (Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz
# inequality").
_KOLMOGOROV_95 = 1.36


def check_error(
    new: Measured, old: Measured, bounds: PromotionSpec, seed: int, *, must_be_better: bool
) -> Check:
    """Checks that the reconstruction error is not above the champion's; for a retraining, below."""
    gain = improvement(new.errors, old.errors)
    low, high = resampled(gain, len(new.errors), seed=seed)
    if must_be_better:
        bound, is_passed = "lower beyond chance", low > 0
    else:
        bound = f"at most {100 * bounds.max_error_increase:g} % higher"
        is_passed = high >= -bounds.max_error_increase
    return Check(
        "reconstruction error",
        f"{new.errors.mean():.5g}",
        f"{old.errors.mean():.5g}",
        _change(once(gain, len(new.errors)), (low, high)),
        bound,
        is_passed,
    )


def check_pca(
    new: Measured, pca: Numbers, components: int, bounds: PromotionSpec, seed: int
) -> Check:
    """Checks that the reconstruction error is below PCA's on the same rows."""
    gain = improvement(new.errors, pca)
    is_lower = bool(new.errors.mean() < pca.mean())
    asked = "lower than PCA's" if bounds.beat_pca else "nothing (beat_pca: false)"
    return Check(
        f"error beside PCA at {components}",
        f"{new.errors.mean():.5g}",
        f"{pca.mean():.5g}",
        _change(once(gain, len(pca)), resampled(gain, len(pca), seed=seed)),
        asked,
        is_lower or not bounds.beat_pca,
    )


def check_scores(new: Measured) -> Check:
    """Checks that no score is NaN; infinite scores pass, since a row may be that far away."""
    nans = int(np.isnan(new.scores).sum() + np.isnan(new.other_scores).sum())
    scores = len(new.scores) + len(new.other_scores)
    return Check("scores that are NaN", f"{nans:,} of {scores:,}", "", "", "none", nans == 0)


def check_detection(new: Measured, old: Measured | None, bounds: PromotionSpec, seed: int) -> Check:
    """Checks the AUROC of held-out rows against rows with other labels."""
    sizes = (len(new.scores), len(new.other_scores))
    of_new = (new.scores, new.other_scores)
    value = once(auroc(*of_new), *sizes)
    if old is None:
        within = _interval(resampled(auroc(*of_new), *sizes, seed=seed))
        return Check("AUROC", f"{value:.3f}", "", within, "nothing: no other to compare with", True)
    of_old = (old.scores, old.other_scores)
    gain = auroc_gain(of_new, of_old)
    interval = resampled(gain, *sizes, seed=seed)
    return Check(
        "AUROC",
        f"{value:.3f}",
        f"{once(auroc(*of_old), *sizes):.3f}",
        f"{once(gain, *sizes):+.3f} {_interval(interval)}",
        f"at most {bounds.max_auroc_drop:g} lower",
        interval[1] >= -bounds.max_auroc_drop,
    )


def check_denoising(
    new: Measured, old: Measured | None, noise: Numbers, bounds: PromotionSpec, seed: int
) -> Check:
    """Checks the gain in PSNR on held-out rows with the noise of the challenger's job.

    Args:
        new: The challenger's measurements.
        old: The champion's measurements, if there is one.
        noise: Shape (N,). The mean squared distance of each noised row from the original row.
        bounds: The bounds of the gate.
        seed: The random seed of the bootstrap.
    """
    assert new.denoised_errors is not None  # noqa: S101 (there is noise)
    value, made = _gained_db(noise, new.denoised_errors), new.denoised_errors
    if old is None or old.denoised_errors is None:
        within = _interval(
            resampled(lambda c: 10 * np.log10((c @ noise) / (c @ made)), len(noise), seed=seed)
        )
        bound = "nothing: no other to compare with"
        return Check("PSNR gained", f"{value:.2f} dB", "", within, bound, True)
    before = old.denoised_errors
    interval = resampled(
        lambda counts: 10 * np.log10((counts @ before) / (counts @ made)), len(noise), seed=seed
    )
    return Check(
        "PSNR gained",
        f"{value:.2f} dB",
        f"{_gained_db(noise, before):.2f} dB",
        f"{_gained_db(before, made):+.2f} {_interval(interval, 2)} dB",
        f"at most {bounds.max_psnr_drop_db:g} dB less",
        interval[1] >= -bounds.max_psnr_drop_db,
    )


def check_variance(
    new: Measured, old: Measured | None, spread: Numbers, bounds: PromotionSpec, seed: int
) -> Check:
    """Checks the explained variance, for jobs that neither detect nor denoise.

    Args:
        new: The challenger's measurements.
        old: The champion's measurements, if there is one.
        spread: Shape (N,). The mean squared distance of each row from the mean of all rows, scaled
            units.
        bounds: The bounds of the gate.
        seed: The random seed of the bootstrap.
    """
    value = 1 - new.errors.mean() / spread.mean()
    if old is None:
        within = _interval(
            resampled(lambda c: 1 - (c @ new.errors) / (c @ spread), len(spread), seed=seed)
        )
        bound = "nothing: no other to compare with"
        return Check("explained variance", f"{value:.4f}", "", within, bound, True)
    lost = old.errors - new.errors
    interval = resampled(lambda counts: (counts @ lost) / (counts @ spread), len(spread), seed=seed)
    return Check(
        "explained variance",
        f"{value:.4f}",
        f"{1 - old.errors.mean() / spread.mean():.4f}",
        f"{lost.mean() / spread.mean():+.4f} {_interval(interval, 4)}",
        f"at most {bounds.max_explained_variance_drop:g} less",
        interval[1] >= -bounds.max_explained_variance_drop,
    )


def check_calibration(
    new: Measured, old: Measured | None, bounds: PromotionSpec, seed: int
) -> tuple[Check, Check]:
    """Checks the share of held-out rows above the threshold, and that p-values are uniform."""
    above = new.is_anomaly.astype(np.float64)
    rows = len(above)
    low, high = resampled(lambda counts: (counts @ above) / rows, rows, seed=seed)
    allowed = bounds.max_false_positive_rate
    if old is not None:
        allowed = max(allowed, float(old.is_anomaly.mean()))
    share = Check(
        f"rows above the threshold (nominal {100 * _NOMINAL:g} %)",
        f"{100 * above.mean():.2g} %",
        "" if old is None else f"{100 * old.is_anomaly.mean():.2g} %",
        f"({100 * low:.2g} to {100 * high:.2g} %)",
        f"at most {100 * allowed:.3g} %",
        low <= allowed,
    )
    distance, chance = _distance_from_uniform(new.p_values), _KOLMOGOROV_95 / np.sqrt(rows)
    furthest = bounds.max_p_value_distance
    if old is not None:
        furthest = max(furthest, _distance_from_uniform(old.p_values))
    uniform = Check(
        "distance of p-values from uniform",
        f"{distance:.3f}",
        "" if old is None else f"{_distance_from_uniform(old.p_values):.3f}",
        f"({max(0.0, distance - chance):.3f} to {min(1.0, distance + chance):.3f})",
        f"at most {furthest:.3g}",
        bool(distance - chance <= furthest),
    )
    return share, uniform


def check_latency(seconds: NDArray[np.float64], bounds: PromotionSpec) -> Check:
    """Checks the time to encode and decode a row.

    Args:
        seconds: Shape (rounds, 1 or 2), seconds per row: the challenger's, then the champion's,
            measured in turns. The shortest time of each counts, because a longer time in some
            rounds is the machine's fault, whichever of the two it affects.
        bounds: The bounds of the gate.
    """
    fastest = seconds.min(axis=0)
    rates = [f"{1 / shortest:,.0f} rows/s" for shortest in fastest]
    if len(rates) == 1:
        return Check("latency", rates[0], "", "", "nothing: no other to compare with", True)
    ratio, ratios = fastest[0] / fastest[1], seconds[:, 0] / seconds[:, 1]
    return Check(
        "latency",
        rates[0],
        rates[1],
        f"{ratio:.2f} times as long (by turn {ratios.min():.2f} to {ratios.max():.2f})",
        f"at most {bounds.max_latency_ratio:g} times",
        bool(ratio <= bounds.max_latency_ratio),
    )


def check_size(new: Measured, old: Measured | None, bounds: PromotionSpec) -> Check:
    """Checks the number of bytes of the weights."""
    said = f"{new.size_bytes:,} bytes"
    if old is None:
        return Check("size", said, "", "", "nothing: no other to compare with", True)
    ratio = new.size_bytes / old.size_bytes
    return Check(
        "size",
        said,
        f"{old.size_bytes:,} bytes",
        f"{ratio:.2f} times",
        f"at most {bounds.max_size_ratio:g} times",
        ratio <= bounds.max_size_ratio,
    )


def check_compatibility(error: float | None, most: float) -> Check:
    """Checks how well the latents map to the champion's, for users who have stored latents.

    Args:
        error: The fraction of the variance of the champion's latents that the best map leaves
            unexplained. It is `None` if there is no map, because the version was registered beside
            another champion or none. Stored latents would then be lost, so the check fails.
        most: The largest error that passes.
    """
    return Check(
        "latents mapped to the champion's",
        "no map" if error is None else f"{100 * error:.2g} % unexplained",
        "",
        "",
        f"at most {100 * most:.3g} % unexplained",
        error is not None and error <= most,
    )


def _distance_from_uniform(p_values: Numbers) -> float:
    """Returns the Kolmogorov-Smirnov distance from the uniform distribution, in [0, 1]."""
    ordered = np.sort(p_values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def _gained_db(before: Numbers, after: Numbers) -> float:
    return float(10 * np.log10(before.mean() / after.mean()))


def _change(gain: float, interval: Interval) -> str:
    """Formats an improvement of the error and its interval as a change of the error in percent."""
    said, low, high = (f"{-100 * share + 0.0:+.1f}" for share in (gain, interval[1], interval[0]))
    return f"{said} % (95 % interval {low} to {high} %)"


def _interval(interval: Interval, digits: int = 3) -> str:
    return f"({interval[0]:+.{digits}f} to {interval[1]:+.{digits}f})"

"""Evidence by hand, for tests of single checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.core.noise_reduction import ERROR
from isthmus.promotion import checks
from isthmus.promotion.evidence import Evidence, Noise
from isthmus.promotion.measures import Measured
from isthmus.promotion.verdict import Check
from isthmus.spec import PromotionSpec


def measured(errors, **changed) -> Measured:
    """Measurements with such errors, and nothing wrong with the rest."""
    rows = len(errors)
    whole = Measured(
        reference="m/1",
        errors=errors,
        scores=errors,
        p_values=(np.arange(rows) + 0.5) / rows,
        is_anomaly=np.zeros(rows, dtype=bool),
        rate=0.01,
        other_scores=np.empty(0),
        denoised=None,
        size_bytes=1000,
    )
    return replace(whole, **changed)


def evidence(new: Measured, old: Measured | None = None, **changed) -> Evidence:
    """Evidence of these measurements, with PCA far above them."""
    whole = Evidence(
        bounds=PromotionSpec(),
        seed=0,
        new=new,
        old=old,
        must_be_better=False,
        own_errors=new.errors,
        pca_errors=10 * new.errors,
        pca_components=2,
        noise=None,
        spread=np.full(len(new.errors), 2.0),
        seconds=np.ones((7, 1 if old is None else 2)),
        map_error=None,
    )
    return replace(whole, **changed)


def of_noise(noisy, measure=ERROR, **changed) -> Noise:
    """Rows with noise, which PCA and a filter take away as well as the challenger does."""
    return replace(Noise(measure, noisy), **changed)


def check(name: str, of: Evidence) -> Check:
    """What one check finds."""
    found = checks.get(name).judge(of)
    assert found is not None
    return found


def drawn(seed: int, rows: int = 200) -> list[np.ndarray]:
    """Errors of two models of the same worth: rows are hard or easy for both, and luck differs."""
    generator = np.random.default_rng(seed)
    hardness = generator.gamma(2.0, 1.0, rows)
    return [hardness * generator.gamma(20.0, 0.05, rows) for _ in range(2)]

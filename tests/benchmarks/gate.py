"""How often the gate decides wrong: `python tests/benchmarks/gate.py`, under two minutes.

The check of the reconstruction error judges pairs of errors that are drawn for versions of a known
worth: exactly at the bound, equal, or worse. A wrong pass is a version at or above the bound that
passes; a wrong refusal is an equal version that is refused. Undecided is neither.

Rows are hard or easy for both versions (log-normal, as the errors of real rows are), and each
version has luck of its own on each row. Three kinds of rows:

- `plain`: a row's hardness spreads over a factor of 2.7 (one sigma), luck over 1.35;
- `heavy`: hardness over a factor of 4.5, so that a few rows make up the mean;
- `uneven`: the challenger's luck spreads more than the champion's, with the same mean.

A fourth kind is printed without a target: `rare`, where the challenger is four times as bad on one
row in twenty. What lies in rows that a small sample does not hold, no interval over it can tell.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from measuring import tell
from numpy.typing import NDArray

from isthmus.promotion import checks
from isthmus.promotion.evidence import Evidence
from isthmus.promotion.measures import Measured
from isthmus.spec import PromotionSpec

SIZES = (10, 30, 100, 168, 1000)
EFFECTS = {"equal": 0.0, "at the bound": 0.02, "5 % worse": 0.05} | {
    "20 % worse": 0.2,
    "50 % worse": 0.5,
}
KINDS = ("plain", "heavy", "uneven", "rare")
MOST_WRONG = 0.05
# So many draws tell 5 % to within 1 %; of many rows fewer are drawn, which take longer.
DRAWS = {10: 600, 30: 600, 100: 500, 168: 500, 1000: 120}
Numbers = NDArray[np.float64]


def draw(kind: str, rows: int, generator: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Errors of two versions with the same mean error."""

    def luck(sigma: float) -> Numbers:
        return np.exp(generator.normal(-(sigma**2) / 2, sigma, rows))

    hardness = np.exp(generator.normal(0.0, 1.5 if kind == "heavy" else 1.0, rows))
    new, old = hardness * luck(0.5 if kind == "uneven" else 0.3), hardness * luck(0.3)
    if kind == "rare":
        new = new * np.where(generator.random(rows) < 0.05, 4.0, 1.0) / 1.15
    return new, old


def verdict(new: Numbers, old: Numbers, seed: int) -> str:
    """What the check of the reconstruction error says."""
    found = checks.get("reconstruction_error").judge(evidence(new, old, seed))
    assert found is not None
    return found.verdict


def evidence(new: Numbers, old: Numbers, seed: int) -> Evidence:
    nothing = np.empty(0)
    ours, theirs = (
        Measured(
            reference="m/1",
            errors=errors,
            scores=errors,
            p_values=nothing,
            is_anomaly=nothing.astype(bool),
            rate=0.01,
            other_scores=nothing,
            denoised=None,
            size_bytes=1,
        )
        for errors in (new, old)
    )
    return Evidence(
        bounds=PromotionSpec(),
        seed=seed,
        new=ours,
        old=theirs,
        must_be_better=False,
        own_errors=new,
        pca_errors=old,
        pca_components=1,
        noise=None,
        spread=old,
        seconds=np.ones((1, 2)),
        map_error=None,
    )


def measure(kind: str, rows: int) -> list[bool]:
    """Prints a line for each effect; returns whether each met its target."""
    generator = np.random.default_rng([KINDS.index(kind), rows])
    counts: dict[str, Counter[str]] = {effect: Counter() for effect in EFFECTS}
    for seed in range(DRAWS[rows]):
        new, old = draw(kind, rows, generator)
        for effect, worse in EFFECTS.items():
            counts[effect][verdict((1 + worse) * new, old, seed)] += 1
    met = []
    for effect, worse in EFFECTS.items():
        shares = {each: counts[effect][each] / DRAWS[rows] for each in ("passed", "refused")}
        wrong = shares["passed"] if worse > 0 else shares["refused"]
        target = None if kind == "rare" else MOST_WRONG
        met.append(
            tell(
                f"gate-{kind}-{rows}-{effect.replace(' % ', '-').replace(' ', '-')}",
                what="wrong passes" if worse > 0 else "wrong refusals",
                value=wrong,
                target=target,
                met=None if target is None else wrong <= target,
                rows=rows,
                effect=worse,
                passed=shares["passed"],
                refused=shares["refused"],
                undecided=1 - sum(shares.values()),
                draws=DRAWS[rows],
            )
        )
    return met


def main() -> int:
    """Measures all kinds of rows and all sizes."""
    met = [each for kind in KINDS for rows in SIZES for each in measure(kind, rows)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Judges a denoiser by what it is for: noise on held-out rows, taken away by it and by others.

The others cost nothing: PCA of the same size, where that says anything, and the classical filter
of the field. All are given the same noisy rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.bundle.held_out import peak_of
from isthmus.core import Autoencoder
from isthmus.core.noise_reduction import (
    DENOISED,
    FILTER,
    NOISY,
    PCA,
    WEAKEST,
    Floats,
    Measure,
    Numbers,
    drawn_noise,
    measure_for,
)
from isthmus.data.prepared.stored import FloatRows, rows_at
from isthmus.tracking import PcaBaseline, filtered_rows, most_filtered

_MOST_ROWS = 2000


@dataclass(frozen=True, eq=False)
class NoiseRemoval:
    """The noise reduction on K held-out rows, by a pair and by simple baselines.

    Attributes:
        measure: The measure of the kind of data.
        clean: Shape (K, *row_shape), data units.
        noisy: The same rows with noise.
        denoised: The pair's reconstructions of them.
        numbers: The number of each row by the measure, shape (K,): `noisy`, `denoised`, and, where
            there are such, `pca` and `filter`.
        errors: The mean squared error of each row, likewise, in scaled units.
        weakest: The numbers `noisy` and `denoised` of the same rows with the weakest noise of the
            variant's range; empty if it has none.
    """

    measure: Measure
    clean: Floats
    noisy: Floats
    denoised: Floats
    numbers: Mapping[str, Numbers]
    errors: Mapping[str, Numbers]
    weakest: Mapping[str, Numbers] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures by the names of their metrics, such as `psnr_db_noisy`; finite ones only."""
        of_weakest = self._metrics_of(self.weakest)
        return {
            **self._metrics_of(self.numbers),
            **{f"{name}{WEAKEST}": value for name, value in of_weakest.items()},
        }

    def _metrics_of(self, numbers: Mapping[str, Numbers]) -> dict[str, float]:
        there = {whose: each for whose, each in numbers.items() if np.isfinite(each).any()}
        means = {whose: float(np.nanmean(each)) for whose, each in there.items()}
        found = self.measure.metrics(means) if NOISY in means and DENOISED in means else {}
        return {name: value for name, value in found.items() if math.isfinite(value)}


def judge_noise_removal(
    module: Autoencoder,
    rows: FloatRows,
    clean: FloatRows | None,
    pca: PcaBaseline | None,
    reconstruct: Callable[[Floats], Floats],
    white: float | None = None,
) -> NoiseRemoval | None:
    """Measures how well a trained module takes noise from held-out rows.

    Args:
        module: The trained module, on the CPU.
        rows: The held-out rows, shape (N, *row_shape), data units.
        clean: The same rows without noise, where the rows have noise of their own; else the noise
            is drawn.
        pca: PCA of the same size, if that says anything.
        reconstruct: Reconstructs many rows in data units, a batch at a time.
        white: The value of white, if the rows are images whose source says it.

    Returns:
        What was measured on up to 2,000 evenly spaced rows; `None` if the variant takes no noise
        away, or there is no clean row to compare with.
    """
    most = min(_MOST_ROWS, most_filtered(module.plan.row_shape))
    taken = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)
    given = rows_at(rows, taken)
    scaled = _scaled_by(module, given)
    target = scaled if clean is None else _scaled_by(module, rows_at(clean, taken))
    noisy = drawn_noise(module, scaled, 0) if clean is None else scaled
    if noisy is None:
        return None
    in_data_units = _unscaled_by(module, noisy)
    denoised = reconstruct(in_data_units)
    measure, clean_rows = measure_for(module.plan.kind), _unscaled_by(module, target)
    peak = peak_of(clean_rows, white, module.scaling.scale.numpy())
    made: dict[str, Floats | None] = {
        NOISY: noisy,
        DENOISED: _scaled_by(module, denoised),
        PCA: None if pca is None else pca.reconstruct(noisy),
        FILTER: filtered_rows(noisy, module.plan.kind),
    }
    there = {whose: each for whose, each in made.items() if each is not None}
    before = measure.numbers(noisy, target, peak)
    return NoiseRemoval(
        measure=measure,
        clean=clean_rows,
        noisy=in_data_units,
        denoised=denoised,
        numbers={
            whose: before if whose == NOISY else measure.of_outputs(each, target, before, peak)
            for whose, each in there.items()
        },
        errors={whose: _squared_errors(each, target) for whose, each in there.items()},
        weakest={} if clean is not None else _at_weakest(module, scaled, reconstruct, peak),
    )


def _at_weakest(
    module: Autoencoder, clean: Floats, reconstruct: Callable[[Floats], Floats], peak: float
) -> dict[str, Numbers]:
    """Returns the numbers of scaled rows with the weakest noise, and of what is made of them."""
    noisy = drawn_noise(module, clean, 0, weakest=True)
    if noisy is None:
        return {}
    measure = measure_for(module.plan.kind)
    before = measure.of_noisy(noisy, clean, peak)
    made = _scaled_by(module, reconstruct(_unscaled_by(module, noisy)))
    return {NOISY: before, DENOISED: measure.of_outputs(made, clean, before, peak)}


def _scaled_by(module: Autoencoder, rows: Floats) -> Floats:
    """Converts rows from data units to those of the module's scaling."""
    with torch.inference_mode():
        return np.asarray(module.scaling(torch.from_numpy(rows)).numpy())


def _unscaled_by(module: Autoencoder, scaled: Floats) -> Floats:
    """Converts rows from the units of the module's scaling to data units."""
    with torch.inference_mode():
        return np.asarray(module.scaling.inverse(torch.from_numpy(scaled)).numpy())


def _squared_errors(made: Floats, target: Floats) -> NDArray[np.float64]:
    difference = (made - target).reshape(len(target), -1)
    return np.asarray(np.square(difference, dtype=np.float64).mean(axis=1))

"""Measures how much noise a denoiser removes, in the measure of each kind of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.core.autoencoder import Autoencoder
from isthmus.core.similarity import psnr_db, si_sdr_db
from isthmus.kinds import facts_of
from isthmus.types import DataKind

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
NOISY, DENOISED, PCA, FILTER = "noisy", "denoised", "pca", "filter"
"""The names of the rows that are measured: those with noise, and the outputs of three methods."""
WEAKEST = "_weakest"
"""The end of the names of metrics of rows with the weakest noise of a range."""
_WORST_DB, _WORST_ERROR = -150.0, 1e12


@dataclass(frozen=True)
class Measure:
    """The measure of a kind of data: each row has a number, and many rows have their mean.

    Attributes:
        name: The beginning of the names of its metrics, such as `psnr`.
        words: The name for people.
        unit: `dB` if a higher number is better, `mse` for the mean squared error in scaled units.
    """

    name: str
    words: str
    unit: Literal["dB", "mse"]

    @property
    def worst(self) -> float:
        """The number of an output that is no number, or infinite."""
        return _WORST_DB if self.unit == "dB" else _WORST_ERROR

    def of_outputs(self, made: Floats, clean: Floats, noisy: Numbers, peak: float = 1.0) -> Numbers:
        """Returns the number of each output of a denoiser, shape (N,).

        An output that is NaN or infinite where the clean row has a value is the worst. Only rows
        whose noisy form has no number have none either.

        Args:
            made: The outputs, shape (N, *row_shape), scaled units.
            clean: The rows without noise, shape (N, *row_shape), scaled units.
            noisy: Shape (N,). The number of each noisy row.
            peak: The range of the clean rows' values, for the PSNR.
        """
        is_lost = np.isfinite(clean) & ~np.isfinite(made)
        found = self.numbers(made, clean, peak)
        found[is_lost.reshape(len(clean), -1).any(axis=1)] = self.worst
        return self.beside(found, noisy)

    def beside(self, ours: Numbers, theirs: Numbers) -> Numbers:
        """Returns ours, NaN where theirs have no number, and the worst where only ours have none.

        Args:
            ours: Shape (N,). The number of each row by the measure.
            theirs: Shape (N,). Those of the same rows by something else.
        """
        found = np.where(np.isfinite(ours), ours, self.worst)
        return np.where(np.isfinite(theirs), found, np.nan)

    def numbers(self, made: Floats, clean: Floats, peak: float = 1.0) -> Numbers:
        """Returns the number of each row, shape (N,); NaN for a row that has none.

        Args:
            made: The rows that are judged, shape (N, *row_shape), scaled units.
            clean: The rows without noise, shape (N, *row_shape), scaled units.
            peak: The range of the clean rows' values, for the PSNR.
        """
        if self.unit == "mse":
            difference = (made - clean).reshape(len(clean), -1)
            return np.asarray(np.nanmean(difference**2, axis=1, dtype=np.float64))
        if not len(clean):
            return np.empty(0)
        output, target = (torch.from_numpy(np.ascontiguousarray(each)) for each in (made, clean))
        is_psnr = self.name == "psnr"
        found = psnr_db(output, target, peak) if is_psnr else si_sdr_db(output, target)
        return np.asarray(found.numpy(), dtype=np.float64)

    def of_noisy(self, noisy: Floats, clean: Floats, peak: float = 1.0) -> Numbers:
        """Returns the number of each noisy row, shape (N,); in dB, NaN for those without noise.

        Weak noise of single values, such as salt and pepper, leaves some rows as they are. Nothing
        can be taken from them, and their 150 dB would decide the mean.
        """
        found = self.numbers(noisy, clean, peak)
        if self.unit == "dB":
            found[(noisy == clean).reshape(len(clean), -1).all(axis=1)] = np.nan
        return found

    def metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Returns the metrics of a run, given the mean of the rows with noise and of the others.

        In dB they are, for PSNR, `psnr_db_noisy`, `psnr_db_denoised`, those of `pca` and `filter`,
        and `psnr_gain_db`, which is below 0 where denoising did harm. Else `noise_mse_ratio` is the
        mean squared error that is left: 0 at best, and above 1 if denoising did harm.
        """
        if self.unit == "dB":
            found = {f"{self.name}_db_{whose}": mean for whose, mean in means.items()}
            return {**found, f"{self.name}_gain_db": means[DENOISED] - means[NOISY]}
        return {
            "noise_mse_ratio" if whose == DENOISED else f"noise_mse_ratio_{whose}": mean
            / means[NOISY]
            for whose, mean in means.items()
            if whose != NOISY and means[NOISY] > 0
        }

    def read(self, metrics: Mapping[str, float], *, weakest: bool = False) -> dict[str, float]:
        """Returns the figures by what is measured, given the metrics that `metrics` named.

        Of the squared error they are shares of that of the rows with noise.

        Args:
            metrics: The metrics.
            weakest: Whether those of rows with the weakest noise are wanted.
        """
        if weakest:
            of_weakest = {name for name in metrics if name.endswith(WEAKEST)}
            return self.read({name.removesuffix(WEAKEST): metrics[name] for name in of_weakest})
        if self.unit == "dB":
            names = {whose: f"{self.name}_db_{whose}" for whose in (NOISY, DENOISED, PCA, FILTER)}
            return {whose: metrics[name] for whose, name in names.items() if name in metrics}
        names = {DENOISED: "noise_mse_ratio", PCA: "noise_mse_ratio_pca"}
        found = {whose: metrics[name] for whose, name in names.items() if name in metrics}
        return {NOISY: 1.0, **found} if found else {}


PSNR = Measure("psnr", "PSNR", "dB")
SI_SDR = Measure("si_sdr", "SI-SDR", "dB")
ERROR = Measure("error", "squared error", "mse")


def measure_for(kind: DataKind) -> Measure:
    """Returns the measure that people use for a kind of data."""
    by_name = {each.name: each for each in (PSNR, SI_SDR, ERROR)}
    return by_name[facts_of(kind).noise_measure]


def drawn_noise(
    module: Autoencoder, scaled: Floats, seed: int, *, weakest: bool = False
) -> Floats | None:
    """Returns rows with the noise that a variant takes away; the same seed gives the same noise.

    Args:
        module: The module, on the CPU.
        scaled: Rows without noise, shape (N, *row_shape), scaled units.
        seed: The seed of the noise.
        weakest: Whether the noise is the weakest of the variant's range, and not the strongest.

    Returns:
        The noisy rows, scaled units; `None` if the variant takes no noise away, or draws none
        because its rows are noisy as they come; of the weakest also if there is no range.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        noisy = module.noised(torch.from_numpy(np.ascontiguousarray(scaled)), weakest=weakest)
    return None if noisy is None else np.asarray(noisy.numpy(), dtype=np.float32)

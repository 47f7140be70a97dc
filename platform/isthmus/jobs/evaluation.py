"""Evaluates a trained autoencoder on held-out rows, and compares it with PCA on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.data.stored import FloatRows
from isthmus.spec import DataSpec
from isthmus.tracking import PcaBaseline, fit_pca
from isthmus.types import DataKind

_BATCH_ROWS = 8192
_ROWS_IN_FIGURES = 2000
_FEWEST_ROWS = 64
_NUMBERS_KEPT = 20_000_000
# With a smaller R^2 on held-out rows a feature is not reconstructed: its mean would do as well.
_LEAST_EXPLAINED = 0.05


@dataclass(frozen=True)
class Evaluation:
    """The evaluation on test rows, which training never saw.

    Errors are mean squares in scaled units.

    Attributes:
        inputs: The rows that the figures show, shape (K, *row_shape), data units.
        reconstructions: Their reconstructions, shape (K, *row_shape), data units.
        latents: Their latents, shape (K, latent_dim).
        errors: The error of each test row, shape (N,).
        pca_errors: The errors of PCA with as many components as the code has values, shape (N,).
        metrics: The variant's own metrics on the rows that the figures show.
        explained: The R^2 of each feature of a table, or channel of a series, on the test rows,
            shape (F,) or (C,): 1 if it is reconstructed exactly, 0 if no better than by its mean,
            NaN if it does not vary there. Empty for images and audio.
        pca: That PCA.
    """

    inputs: NDArray[np.float32]
    reconstructions: NDArray[np.float32]
    latents: NDArray[np.float32]
    errors: NDArray[np.float32]
    pca_errors: NDArray[np.float32]
    metrics: Mapping[str, float]
    explained: NDArray[np.float64]
    pca: PcaBaseline


def reconstruction_errors(module: Autoencoder, values: FloatRows) -> NDArray[np.float32]:
    """Returns the mean squared error of each row's reconstruction, scaled units, shape (N,)."""
    return of_each(values, module.reconstruction_error)


def of_each(values: FloatRows, number: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
    """Computes a number for each row, a batch at a time; returns shape (N,)."""
    found = np.empty(len(values), dtype=np.float32)
    with torch.inference_mode():
        for first in range(0, len(values), _BATCH_ROWS):
            part = torch.from_numpy(values[first : first + _BATCH_ROWS])
            found[first : first + _BATCH_ROWS] = number(part).numpy()
    return found


def evaluate(
    module: Autoencoder,
    train: FloatRows,
    test: FloatRows,
) -> Evaluation:
    """Reconstructs the test rows with the module and with PCA, and measures the errors of both.

    Args:
        module: The trained module, on the CPU.
        train: The rows that PCA is fitted to, shape (M, *row_shape), scaled.
        test: The test rows, shape (N, *row_shape), data units.
    """
    # Latents with skip maps are larger than the rows, so fewer of them are kept.
    shown_rows = min(_ROWS_IN_FIGURES, max(_FEWEST_ROWS, _NUMBERS_KEPT // module.plan.latent_dim))
    shown = torch.from_numpy(test[:shown_rows])
    with torch.inference_mode():
        latents = module.encode(shown)
        reconstructions = module.decode(latents).numpy()
        scaled = module.scaling(shown)
    with torch.no_grad():
        # Equal weights give equal draws, whatever was drawn before.
        torch.manual_seed(0)
        metrics = module.metrics(scaled)
    pca = fit_pca(train, module.code_size)

    def pca_errors(x: Tensor) -> Tensor:
        return torch.from_numpy(pca.errors(module.scaling(x).numpy()))

    return Evaluation(
        inputs=shown.numpy(),
        reconstructions=reconstructions,
        latents=latents.numpy(),
        errors=reconstruction_errors(module, test),
        pca_errors=of_each(test, pca_errors),
        metrics=metrics,
        explained=_explained(module, test),
        pca=pca,
    )


def _explained(module: Autoencoder, values: FloatRows) -> NDArray[np.float64]:
    """Returns the share of each feature's or channel's variance that is reconstructed."""
    axes = {DataKind.TABULAR: (0,), DataKind.SERIES: (0, 2)}.get(module.plan.kind)
    if axes is None:
        return np.empty(0)
    residual = total = squares = np.zeros(module.plan.row_shape[0])
    count = 0
    with torch.inference_mode():
        for first in range(0, len(values), _BATCH_ROWS):
            part = torch.from_numpy(values[first : first + _BATCH_ROWS])
            x = module.scaling(part).double()
            x_hat = module.scaling(module.reconstruct(part)).double()
            residual = residual + (x - x_hat).square().sum(axes).numpy()
            total, squares = total + x.sum(axes).numpy(), squares + x.square().sum(axes).numpy()
            count += x.numel() // len(residual)
    spread = squares - total**2 / count
    # Where a feature is constant on these rows, rounding leaves a spread of about 1e-16.
    does_vary = spread > 1e-9 * np.maximum(squares, 1e-12)
    return 1 - np.divide(residual, spread, out=np.full_like(spread, np.nan), where=does_vary)


def not_reconstructed(explained: NDArray[np.float64], data: DataSpec) -> tuple[str, ...]:
    """Returns the names of the features or channels that are hardly reconstructed, if at all.

    Args:
        explained: The R^2 of each feature or channel, as `Evaluation` has it.
        data: The job's data section with every `auto` resolved.
    """
    what = "channel" if data.kind is DataKind.SERIES else "feature"
    names = data.feature_names or [f"{what} {number}" for number in range(len(explained))]
    with np.errstate(invalid="ignore"):
        return tuple(names[number] for number in np.flatnonzero(explained < _LEAST_EXPLAINED))

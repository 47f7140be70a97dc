"""Evaluates a trained autoencoder on held-out rows, beside PCA on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.data.prepared.stored import FloatRows
from isthmus.jobs.noise_removal import NoiseRemoval, judge_noise_removal
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec, ModelPlan
from isthmus.tracking import PcaBaseline, fit_pca, is_comparable

_BATCH_ROWS = 8192
# The numbers of the rows, and of the latents, that a net is given and gives at once: its feature
# maps are some 30 times as large as the rows, which makes 128 MiB of each.
_ROW_NUMBERS_AT_ONCE = 2**20
_LATENT_NUMBERS_AT_ONCE = 2**24
_ROWS_IN_FIGURES = 2000
_FEWEST_ROWS = 64
_NUMBERS_KEPT = 20_000_000
# Of wider latents, figures keep evenly spaced numbers, which lie about as the whole latents do.
_WIDEST_LATENT = 2**14
# With a smaller R^2 on held-out rows a feature is not reconstructed: its mean would do as well.
_LEAST_EXPLAINED = 0.05


@dataclass(frozen=True)
class Evaluation:
    """The evaluation on test rows, which training never saw.

    Errors are mean squares in scaled units.

    Attributes:
        inputs: The rows that the figures show, shape (K, *row_shape), data units.
        reconstructions: Their reconstructions, shape (K, *row_shape), data units.
        latents: Their latents, shape (K, latent_dim); of latents of more than 16,384 numbers, as
            many evenly spaced ones.
        errors: The error of each test row, shape (N,); beside the clean row where there is one.
        pca_errors: The errors of PCA with as many components as the code has values, shape (N,);
            `None` where that says nothing, as the code is as large as the row.
        metrics: The variant's own metrics on the rows that the figures show.
        explained: The R^2 of each feature of a table, or channel of a series, on the test rows,
            shape (F,) or (C,): 1 if it is reconstructed exactly, 0 if no better than by its mean,
            NaN if it does not vary there. Empty for images and audio.
        pca: That PCA.
        noise: The figures of removing noise, if that is what the pair's variant is for.
    """

    inputs: NDArray[np.float32]
    reconstructions: NDArray[np.float32]
    latents: NDArray[np.float32]
    errors: NDArray[np.float32]
    pca_errors: NDArray[np.float32] | None
    metrics: Mapping[str, float]
    explained: NDArray[np.float64]
    pca: PcaBaseline | None
    noise: NoiseRemoval | None = None


def rows_at_once(plan: ModelPlan) -> int:
    """Returns how many rows a net of a plan is given at once, such that its maps stay small."""
    of_rows = _ROW_NUMBERS_AT_ONCE // prod(plan.row_shape)
    return max(1, min(_BATCH_ROWS, of_rows, _LATENT_NUMBERS_AT_ONCE // plan.latent_dim))


def of_each(number: Callable[..., Tensor], at_once: int, *rows: FloatRows) -> NDArray[np.float32]:
    """Computes a number for each row, a batch at a time; returns shape (N,).

    Args:
        number: The function; it takes as many batches as there are arrays of rows.
        at_once: The number of rows in a batch.
        *rows: The rows, and others that belong to them one to one.
    """
    found = np.empty(len(rows[0]), dtype=np.float32)
    with torch.inference_mode():
        for first in range(0, len(found), at_once):
            parts = (torch.from_numpy(each[first : first + at_once]) for each in rows)
            found[first : first + at_once] = number(*parts).numpy()
    return found


def evaluate(
    module: Autoencoder,
    train: FloatRows,
    test: FloatRows,
    clean: FloatRows | None = None,
    white: float | None = None,
) -> Evaluation:
    """Reconstructs the test rows with the module and with PCA, and measures the errors of both.

    Args:
        module: The trained module, on the CPU.
        train: The rows that PCA is fitted to, shape (M, *row_shape), scaled.
        test: The test rows, shape (N, *row_shape), data units.
        clean: The test rows without noise, if they were measured so; else `test` is taken for that.
        white: The value of white, if the rows are images whose source says it.
    """
    plan, at_once = module.plan, rows_at_once(module.plan)
    kept = min(plan.latent_dim, _WIDEST_LATENT)
    most = _NUMBERS_KEPT // max(kept, prod(plan.row_shape))
    shown = test[: min(_ROWS_IN_FIGURES, max(_FEWEST_ROWS, most))]
    pca = fit_pca(train, module.code_size) if _has_pca(module) else None

    def reconstruct(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return _in_batches(rows, module.reconstruct, at_once)

    def errors(x: Tensor, target: Tensor) -> Tensor:
        return _mean_squares(module.scaling(module.reconstruct(x)) - module.scaling(target))

    def pca_errors(x: Tensor, target: Tensor) -> Tensor:
        assert pca is not None  # noqa: S101 (asked for only where there is one)
        made = torch.from_numpy(pca.reconstruct(module.scaling(x).numpy()))
        return _mean_squares(made - module.scaling(target))

    both = (test, test if clean is None else clean)
    return Evaluation(
        inputs=shown,
        reconstructions=reconstruct(shown),
        latents=_in_batches(shown, lambda x: module.encode(x)[:, _spaced(plan)], at_once),
        errors=of_each(module.reconstruction_error, at_once, test)
        if clean is None
        else of_each(errors, at_once, *both),
        pca_errors=None if pca is None else of_each(pca_errors, at_once, *both),
        metrics=_metrics(module, both[1][: min(len(shown), max(_FEWEST_ROWS, 2 * at_once))]),
        explained=_explained(module, *both),
        pca=pca,
        noise=judge_noise_removal(module, test, clean, pca, reconstruct, white),
    )


def _mean_squares(difference: Tensor) -> Tensor:
    """Returns the mean square of each row, shape (B,)."""
    return difference.square().flatten(1).mean(dim=1)


def _has_pca(module: Autoencoder) -> bool:
    return is_comparable(module.code_size, module.plan.row_shape)


def _spaced(plan: ModelPlan) -> slice:
    """Returns which numbers of a latent are kept for the figures."""
    return slice(0, None, -(-plan.latent_dim // _WIDEST_LATENT))


def _in_batches(
    rows: NDArray[np.float32], function: Callable[[Tensor], Tensor], at_once: int
) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(rows), at_once)
        return torch.cat([function(part) for part in parts]).numpy()


def _metrics(module: Autoencoder, shown: NDArray[np.float32]) -> dict[str, float]:
    with torch.no_grad():
        # Equal weights give equal draws, whatever was drawn before.
        torch.manual_seed(0)
        return module.metrics(module.scaling(torch.from_numpy(shown)))


def _explained(module: Autoencoder, values: FloatRows, clean: FloatRows) -> NDArray[np.float64]:
    """Returns the share of each feature's or channel's variance that is reconstructed."""
    if facts_of(module.plan.kind).feature is None:
        return np.empty(0)
    axes = (0, *range(2, len(values.shape)))  # all but the features or channels
    residual = total = squares = np.zeros(module.plan.row_shape[0])
    count, at_once = 0, rows_at_once(module.plan)
    with torch.inference_mode():
        for first in range(0, len(values), at_once):
            part, target = (
                torch.from_numpy(each[first : first + at_once]) for each in (values, clean)
            )
            x = module.scaling(target).double()
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
    what = facts_of(data.kind).feature
    names = data.feature_names or [f"{what} {number}" for number in range(len(explained))]
    with np.errstate(invalid="ignore"):
        return tuple(names[number] for number in np.flatnonzero(explained < _LEAST_EXPLAINED))

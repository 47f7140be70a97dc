"""The data that the figures of a finished run are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.spec import ModelPlan

if TYPE_CHECKING:
    # Imported at run time, it would import Ray and torch, which listing runs does not need.
    from isthmus.progress.reporter import EpochReport


@dataclass(frozen=True, eq=False)
class NoisyExamples:
    """L held-out rows with noise, and what the autoencoder makes of them.

    Attributes:
        clean: Shape (L, *row_shape), data units.
        noisy: The same rows with noise.
        denoised: The reconstructions of the noisy rows.
        errors: The mean squared error of each row, shape (L,), scaled units: `noisy`, `denoised`,
            and, if there are such, `pca` and `filter`.
    """

    clean: NDArray[np.float32]
    noisy: NDArray[np.float32]
    denoised: NDArray[np.float32]
    errors: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class RunReport:
    """The data that a run's figures are drawn from: K rows are shown, N rows were evaluated.

    Attributes:
        plan: The plan of the trained model.
        inputs: Shape (K, *row_shape), data units.
        reconstructions: Shape (K, *row_shape), data units.
        latents: Shape (K, D), where D is the latent_dim, or less if only some of the numbers are
            kept.
        labels: Shape (K,), of any type; `None` if the data have no labels.
        errors: Shape (N,), scaled units. The mean squared error of each row. The first K are those
            of the rows shown.
        pca_errors: Shape (N,), scaled units. PCA's errors on the same rows; `None` if PCA of the
            same size says nothing.
        threshold: The error above which a row is an anomaly; NaN if there is none.
        history: The reports of all finished epochs, in order; first an epoch 0 with the validation
            losses of the start, if training started from a pair.
        noise: Examples of noise that was taken away, for pairs that do that.
    """

    plan: ModelPlan
    inputs: NDArray[np.float32]
    reconstructions: NDArray[np.float32]
    latents: NDArray[np.float32]
    labels: NDArray[Any] | None
    errors: NDArray[np.float32]
    pca_errors: NDArray[np.float32] | None
    threshold: float
    history: Sequence[EpochReport]
    noise: NoisyExamples | None = None

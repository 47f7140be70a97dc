"""What a finished run shows: the rows, their reconstructions and latents, errors and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.spec import ModelPlan

if TYPE_CHECKING:
    # At run time it would import Ray and torch, which listing runs does not need.
    from isthmus.progress.reporter import EpochReport


@dataclass(frozen=True)
class RunReport:
    """What the figures of a run are drawn from. K rows are shown, N were evaluated.

    Attributes:
        plan: What was trained.
        inputs: Shape (K, *row_shape), data units.
        reconstructions: Shape (K, *row_shape), data units.
        latents: Shape (K, latent_dim).
        labels: Shape (K,), of any kind; `None` if the data have none.
        errors: Shape (N,), scaled units: the mean squared error of each row. The first K are
            those of the rows shown.
        pca_errors: Shape (N,), scaled units: PCA's on the same rows.
        threshold: Errors above it are anomalies; NaN if there is none.
        history: All finished epochs, in order.
    """

    plan: ModelPlan
    inputs: NDArray[np.float32]
    reconstructions: NDArray[np.float32]
    latents: NDArray[np.float32]
    labels: NDArray[Any] | None
    errors: NDArray[np.float32]
    pca_errors: NDArray[np.float32]
    threshold: float
    history: Sequence[EpochReport]

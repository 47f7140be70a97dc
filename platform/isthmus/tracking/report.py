"""The data that the figures of a finished run are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.spec import ModelPlan

if TYPE_CHECKING:
    # Imported at run time, it would import Ray and torch, which listing runs does not need.
    from isthmus.progress.reporter import EpochReport


@dataclass(frozen=True)
class RunReport:
    """The data that a run's figures are drawn from: K rows are shown, N rows were evaluated.

    Attributes:
        plan: The plan of the trained model.
        inputs: Shape (K, *row_shape), data units.
        reconstructions: Shape (K, *row_shape), data units.
        latents: Shape (K, latent_dim).
        labels: Shape (K,), of any type; `None` if the data have no labels.
        errors: Shape (N,), scaled units. The mean squared error of each row. The first K are those
            of the rows shown.
        pca_errors: Shape (N,), scaled units. PCA's errors on the same rows.
        threshold: The error above which a row is an anomaly; NaN if there is none.
        history: The reports of all finished epochs, in order.
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

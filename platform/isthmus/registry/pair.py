"""A loaded pair: what `isthmus.load("digits@champion")` gives. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from isthmus.allocation import freed_memory_is_kept
from isthmus.bundle.manifest import PairManifest
from isthmus.core import Autoencoder
from isthmus.errors import DataError, RegistryError
from isthmus.overwriting import overwriting
from isthmus.types import Shape

Floats = NDArray[np.float32]
OnRows = Callable[[int, int], None]
# What a net makes of so many numbers stays in a core's cache: a conv net takes up to twice as long
# with ten times as many pictures at once. A dense net's layers are no wider than its rows by much,
# and its matrix products are the quicker the more rows they have.
_NUMBERS_IN_A_BATCH = 2**16
_NUMBERS_OF_A_TABLE_IN_A_BATCH = 2**18
# And where a batch's memory is the last one's.
_MOST_ROWS_IN_A_BATCH, _MOST_IN_KEPT_MEMORY = 4096, 8192


@dataclass(frozen=True, eq=False)
class Latents:
    """Rows in the latent space of one pair.

    Attributes:
        values: Shape (N, latent_dim).
        pair_id: The pair that made them; no other pair's decoder takes them.
    """

    values: Floats
    pair_id: str


@dataclass(frozen=True, eq=False)
class Detections:
    """How unusual rows are.

    Attributes:
        scores: Shape (N,). By most variants the reconstruction error, mean over a row, in scaled
            units; by usad, dagmm and deep_svdd as their papers have it.
        p_values: Shape (N,). Share of normal rows that score at least as high.
        anomalies: Shape (N,), bool. Which scores are above the threshold.
        threshold: What 1 % of normal rows are above.
    """

    scores: Floats
    p_values: Floats
    anomalies: NDArray[np.bool_]
    threshold: float


class Pair:
    """An encoder and a decoder that were trained together, whole and verified.

    Every method takes rows of the shape that the pair was trained on, or flat, or images without
    their one channel; what it gives back has the shape that came in.
    """

    def __init__(self, module: Autoencoder, manifest: PairManifest, reference: str) -> None:
        """Args:
        module: With all weights.
        manifest: Of the pair.
        reference: Its name and version, `digits/3`.
        """
        self.module = module.eval()
        self.manifest = manifest
        self.reference = reference

    def __repr__(self) -> str:
        plan = self.manifest.plan
        made_of = f"{plan.variant.name}, {plan.net.name}, latent {plan.latent_dim}"
        return f"<Pair {self.reference}: {made_of}>"

    @property
    def threshold(self) -> float:
        """Scores above it are anomalies: 1 % of normal rows are."""
        return float(self.module.calibration.threshold)

    def encode(self, x: ArrayLike, on_rows: OnRows | None = None) -> Latents:
        """Rows to latents."""
        rows, _ = self._as_rows(x)
        width = (self.manifest.plan.latent_dim,)
        return Latents(_apply(self.module.encode, rows, width, on_rows), self.manifest.pair_id)

    def decode(self, latents: Latents, on_rows: OnRows | None = None) -> Floats:
        """Latents to rows, shape (N, *row_shape).

        Raises:
            RegistryError: If another pair made the latents.
        """
        if latents.pair_id != self.manifest.pair_id:
            raise RegistryError(
                f"these latents were made by pair {latents.pair_id}, and {self.reference} is pair "
                f"{self.manifest.pair_id}; decode them with the pair that made them"
            )
        shape = self.manifest.plan.row_shape
        return _apply(self.module.decode, latents.values, shape, on_rows)

    def reconstruct(self, x: ArrayLike, on_rows: OnRows | None = None) -> Floats:
        """Rows through the bottleneck and back."""
        rows, shape = self._as_rows(x)
        row_shape = self.manifest.plan.row_shape
        return _apply(self.module.reconstruct, rows, row_shape, on_rows).reshape(shape)

    def denoise(self, x: ArrayLike, on_rows: OnRows | None = None) -> Floats:
        """Noisy rows to clean ones: what the bottleneck cannot hold is lost, noise first."""
        return self.reconstruct(x, on_rows)

    def detect(self, x: ArrayLike, on_rows: OnRows | None = None) -> Detections:
        """Scores rows, and says which are unusual."""
        rows, _ = self._as_rows(x)
        scores = _apply(self.module.score, rows, (), on_rows)
        calibration = self.module.calibration
        with torch.inference_mode():
            tensor = torch.from_numpy(scores)
            return Detections(
                scores=scores,
                p_values=calibration.p_values(tensor).numpy(),
                anomalies=calibration.is_anomaly(tensor).numpy(),
                threshold=self.threshold,
            )

    def _as_rows(self, x: ArrayLike) -> tuple[Floats, Shape]:
        """The rows in the pair's own shape, and the shape they came in."""
        values = np.asarray(x)
        if values.dtype.kind not in "fiub":
            raise DataError(f"rows of type {values.dtype} are not numbers; give a numeric array")
        wanted = self.manifest.plan.row_shape
        without_channel = wanted[1:] if wanted[0] == 1 and len(wanted) > 1 else wanted
        if values.ndim == 0 or values.shape[1:] not in (wanted, without_channel, (prod(wanted),)):
            raise DataError(
                f"rows of shape {values.shape[1:]} do not fit {self.reference}, which takes "
                f"{wanted}"
            )
        rows = np.ascontiguousarray(values, dtype=np.float32).reshape(-1, *wanted)
        return rows, values.shape


def _apply(
    function: Callable[[Tensor], Tensor], rows: Floats, shape: Shape, on_rows: OnRows | None
) -> Floats:
    result = np.empty((len(rows), *shape), dtype=np.float32)
    at_once = _rows_at_once(max(rows.shape[1:], shape, key=prod))
    with torch.inference_mode(), overwriting():
        for start in range(0, len(rows), at_once):
            part = torch.from_numpy(rows[start : start + at_once])
            result[start : start + at_once] = function(part).numpy()
            if on_rows:
                on_rows(min(start + at_once, len(rows)), len(rows))
    return result


def _rows_at_once(row_shape: Shape) -> int:
    """Of what goes into a net or comes out, whichever is larger."""
    is_table = len(row_shape) == 1
    numbers = _NUMBERS_OF_A_TABLE_IN_A_BATCH if is_table else _NUMBERS_IN_A_BATCH
    most = _MOST_IN_KEPT_MEMORY if freed_memory_is_kept() else _MOST_ROWS_IN_A_BATCH
    return max(1, min(numbers // prod(row_shape), most))

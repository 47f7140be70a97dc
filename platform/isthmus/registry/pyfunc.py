"""The pyfunc flavor of a half: `mlflow.pyfunc.load_model("models:/digits-encoder@champion")`.

MLflow imports this module by the name in the artifact and calls `_load_pyfunc`. Isthmus must be
installed, but the user's code need not import it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.bundle.manifest import Half, check_weights, read_manifest, weights_file
from isthmus.bundle.tensors import read_tensors
from isthmus.core import Autoencoder
from isthmus.registry.artifacts import build_half

_BATCH_ROWS = 4096


class _Half:
    """The model that MLflow calls. `predict` accepts arrays, tables, or a dict with one array."""

    def __init__(self, module: Autoencoder, half: Half) -> None:
        self._module = module
        self._half = half

    def predict(self, model_input: Any, params: Any = None) -> NDArray[np.float32]:
        """Encodes rows (N, *row_shape) to latents (N, latent_dim), or decodes latents to rows."""
        plan = self._module.plan
        shape = plan.row_shape if self._half == "encoder" else (plan.latent_dim,)
        apply = self._module.encode if self._half == "encoder" else self._module.decode
        if isinstance(model_input, dict):
            model_input = next(iter(model_input.values()))
        values = np.asarray(model_input, dtype=np.float32).reshape(-1, *shape)
        with torch.inference_mode():
            parts = [
                apply(torch.from_numpy(values[start : start + _BATCH_ROWS])).numpy()
                for start in range(0, len(values), _BATCH_ROWS)
            ]
        return np.concatenate(parts) if parts else np.empty((0, *shape), np.float32)


def _load_pyfunc(path: str) -> _Half:
    folder = Path(path)
    manifest = read_manifest(folder)
    half: Half = "encoder" if (folder / weights_file("encoder")).exists() else "decoder"
    weights = read_tensors(check_weights(folder, half, manifest))
    return _Half(build_half(manifest, half, weights).eval(), half)

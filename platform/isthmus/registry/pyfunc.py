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
from isthmus.bundle.plugin_files import Needed
from isthmus.bundle.tensors import read_tensors
from isthmus.core import Autoencoder
from isthmus.data.prepared.centring import centred, restored
from isthmus.registry.artifacts import build_half
from isthmus.spec import Settings

_BATCH_ROWS = 4096


class _Half:
    """The model that MLflow calls. `predict` accepts arrays, tables, or a dict with one array."""

    def __init__(
        self, module: Autoencoder, half: Half, centre: tuple[float, ...] | None = None
    ) -> None:
        self._module = module
        self._half = half
        self._centre = centre

    def predict(self, model_input: Any, params: Any = None) -> NDArray[Any]:
        """Encodes rows (N, *row_shape) to latents (N, latent_dim), or decodes latents to rows.

        Rows are float64 if the pair has a centre, else float32; latents are float32.
        """
        plan = self._module.plan
        is_encoder = self._half == "encoder"
        latent_shape = (plan.latent_dim,)
        shape, made_shape = (
            (plan.row_shape, latent_shape) if is_encoder else (latent_shape, plan.row_shape)
        )
        apply = self._module.encode if is_encoder else self._module.decode
        if isinstance(model_input, dict):
            model_input = next(iter(model_input.values()))
        centre = self._centre if is_encoder else None
        dtype = np.float32 if centre is None else np.float64
        values = centred(np.asarray(model_input, dtype=dtype).reshape(-1, *shape), centre)
        with torch.inference_mode():
            parts = [
                apply(torch.from_numpy(values[start : start + _BATCH_ROWS])).numpy()
                for start in range(0, len(values), _BATCH_ROWS)
            ]
        made = np.concatenate(parts) if parts else np.empty((0, *made_shape), np.float32)
        return made if is_encoder else restored(made, self._centre)


def _load_pyfunc(path: str) -> _Half:
    folder = Path(path)
    manifest = read_manifest(folder)
    half: Half = "encoder" if (folder / weights_file("encoder")).exists() else "decoder"
    is_trusted = Settings.from_environment().trust_plugins
    Needed.by(manifest, folder, manifest.name, is_trusted=is_trusted).import_files()
    weights = read_tensors(check_weights(folder, half, manifest))
    module = build_half(manifest, half, weights).eval()
    return _Half(module, half, manifest.rows_taken.centre)

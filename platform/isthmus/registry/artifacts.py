"""A half's artifact: an MLflow pyfunc folder that holds `pair.json` and weights, and no code."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from isthmus.core import Autoencoder
from isthmus.registry.compatibility import MAPS_FILE
from isthmus.registry.manifest import HALVES, Half, PairManifest, weights_file, write_manifest

CONTENT_FOLDER = "pair"
"""Where an artifact keeps `pair.json` and the weights."""
_LIBRARIES = ("isthmus", "torch", "pytorch-lightning", "safetensors", "numpy", "mlflow")


def library_versions() -> dict[str, str]:
    """The versions of what a pair runs on."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def write_weights(module: Autoencoder, folder: Path) -> dict[Half, Path]:
    """Writes both halves' weights; each holds the submodules that it needs, and no others.

    Returns:
        The file of each half.
    """
    parts = {"encoder": module.ENCODER_PARTS, "decoder": module.DECODER_PARTS}
    files: dict[Half, Path] = {}
    for half in HALVES:
        state = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in module.state_dict().items()
            if name.partition(".")[0] in parts[half]
        }
        files[half] = folder / weights_file(half)
        save_file(state, files[half])
    return files


def write_artifact(
    folder: Path,
    half: Half,
    manifest: PairManifest,
    weights: Path,
    example: NDArray[np.float32],
    output: NDArray[np.float32],
) -> None:
    """Writes a half as a pyfunc that any MLflow can load and serve.

    Args:
        folder: Where; made.
        half: Which.
        manifest: Of the pair.
        weights: The half's weights file.
        example: Input rows of the half: (N, *row_shape) or (N, latent_dim).
        output: What it makes of them.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    content = folder.parent / f"{half}-content" / CONTENT_FOLDER
    content.mkdir(parents=True)
    write_manifest(manifest, content)
    (content / weights_file(half)).hardlink_to(weights)
    if half == "encoder" and manifest.compatibility:
        (content / MAPS_FILE).hardlink_to(weights.with_name(MAPS_FILE))

    def schema(values: NDArray[np.float32], name: str) -> Any:
        # The first axis is open: a fixed one would refuse every other number of rows.
        return Schema([TensorSpec(np.dtype(np.float32), (-1, *values.shape[1:]), name)])

    names = ("row", "latent") if half == "encoder" else ("latent", "row")
    versions = library_versions()
    pyfunc.save_model(
        path=str(folder),
        # MLflow imports this module by name; the artifact holds no code and no pickle.
        loader_module="isthmus.registry.pyfunc",
        data_path=str(content),
        mlflow_model=Model(run_id=manifest.run_id, model_id=manifest.models[half]),
        signature=ModelSignature(schema(example, names[0]), schema(output, names[1])),
        input_example=example,
        pip_requirements=[f"{name}=={version}" for name, version in versions.items()],
        metadata={"isthmus.pair_id": manifest.pair_id, "isthmus.half": half},
    )

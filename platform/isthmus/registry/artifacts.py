"""A half's artifact: an MLflow pyfunc folder that holds `pair.json` and weights, and no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from isthmus import nets, variants
from isthmus.bundle.manifest import HALVES, Half, PairManifest, weights_file, write_manifest
from isthmus.core import Autoencoder
from isthmus.errors import RegistryError

CONTENT_FOLDER = "pair"
"""Where an artifact keeps `pair.json` and the weights."""
_LIBRARIES = ("isthmus", "torch", "pytorch-lightning", "safetensors", "numpy", "mlflow")


def library_versions() -> dict[str, str]:
    """The versions of what a pair runs on."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def build_module(manifest: PairManifest, state: Mapping[str, Tensor] | None = None) -> Autoencoder:
    """The autoencoder that a manifest describes.

    Args:
        manifest: Of the pair.
        state: The weights of both halves, which it keeps; by default they are still to be loaded.

    Raises:
        RegistryError: If this Isthmus has no such variant, net or option.
    """
    plan, pair = manifest.plan, f"pair {manifest.pair_id} ({manifest.name})"
    for what, chosen, known in (
        ("variant", plan.variant.name, variants.names()),
        ("net", plan.net.name, nets.names()),
    ):
        # Also: what is looked up by name is imported, and a name may say anything.
        if chosen not in known:
            raise RegistryError(
                f'{pair} is of the {what} "{chosen}", which this Isthmus has not; upgrade isthmus '
                f"to {manifest.isthmus_version} or later"
            )
    try:
        return variants.build(plan) if state is None else variants.restore(plan, state)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RegistryError(
            f"{pair} was made with an option that this Isthmus does not take ({where}: "
            f"{first['msg']}); upgrade isthmus to {manifest.isthmus_version} or later"
        ) from error


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
    files: Sequence[Path],
    example: NDArray[np.float32],
    output: NDArray[np.float32],
) -> None:
    """Writes a half as a pyfunc that any MLflow can load and serve.

    Args:
        folder: Where; made.
        half: Which.
        manifest: Of the pair.
        files: The half's weights and its ONNX graphs, on the same disk.
        example: Input rows of the half: (N, *row_shape) or (N, latent_dim).
        output: What it makes of them.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    content = folder.parent / f"{half}-content" / CONTENT_FOLDER
    content.mkdir(parents=True)
    write_manifest(manifest, content)
    for file in files:
        (content / file.name).hardlink_to(file)

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
        # Without what a build adds of its own, 2.13.0+cpu: an index has no such version.
        pip_requirements=[f"{name}=={version.split('+')[0]}" for name, version in versions.items()],
        metadata={"isthmus.pair_id": manifest.pair_id, "isthmus.half": half},
    )

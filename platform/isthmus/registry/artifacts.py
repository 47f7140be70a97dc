"""The artifact of a half: an MLflow pyfunc folder with `pair.json` and weights, without code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from isthmus import plugins, variants
from isthmus.bundle import code_tables, detectors
from isthmus.bundle.manifest import HALVES, Half, PairManifest, weights_file, write_manifest
from isthmus.bundle.plugin_files import packages_of
from isthmus.core import Autoencoder, IntTable
from isthmus.errors import RegistryError
from isthmus.registry.fetching import CONTENT_FOLDER
from isthmus.scores import Detector

_LIBRARIES = ("isthmus", "torch", "pytorch-lightning", "safetensors", "numpy", "mlflow")


def library_versions() -> dict[str, str]:
    """Returns the versions of the libraries that a pair needs."""
    return dict(_library_versions())


@cache
def _library_versions() -> Mapping[str, str]:
    # A registration asks four times, and each time would read the whole description of them all.
    return {name: metadata.version(name) for name in _LIBRARIES}


def pip_requirements(versions: Mapping[str, str]) -> list[str]:
    """Returns the requirements of a model, for environments that MLflow makes."""
    # The local suffix of a build, as in 2.13.0+cpu, is removed because package indexes lack it.
    return [f"{name}=={version.split('+')[0]}" for name, version in versions.items()]


def build_detector(
    manifest: PairManifest, state: Mapping[str, Tensor]
) -> tuple[Detector, tuple[IntTable, ...]]:
    """Builds the autoencoder that a manifest describes, and the detector around it.

    Args:
        manifest: The pair's manifest.
        state: The tensors of both halves, which the modules keep.

    Returns:
        The detector, and the tables of a pair that compresses.

    Raises:
        RegistryError: If this Isthmus does not know the variant, the net, the score or an option,
            or if the weights do not fit the plan.
    """
    with _told_of(manifest):
        state, tables = code_tables.split(state)
        weights, rest = detectors.split(state)
        module = variants.restore(manifest.plan, weights)
        record = manifest.detector
        detector = detectors.restore(module, record.scoring, record.members, rest).eval()
        return detector, tables


def build_half(manifest: PairManifest, half: Half, state: Mapping[str, Tensor]) -> Autoencoder:
    """Builds the autoencoder that a manifest describes, with the weights of one half.

    The submodules of the other half keep the weights that they are drawn with; nobody uses them.

    Raises:
        RegistryError: If the module cannot be built, as in `build_detector`.
    """
    with _told_of(manifest):
        weights, _ = detectors.split(code_tables.split(state)[0])
        variants.check_fit(manifest.plan, weights)
        module = variants.build(manifest.plan)
        found = module.load_state_dict(weights, strict=False)
        own = [
            name for name in found.missing_keys if name.partition(".")[0] in _parts(module, half)
        ]
        if own or found.unexpected_keys:
            raise RuntimeError(f"missing are {own}, unknown {found.unexpected_keys}")
    return module


@contextmanager
def _told_of(manifest: PairManifest) -> Iterator[None]:
    """Builds the module of a manifest in the block; any failure becomes one line.

    Raises:
        RegistryError: If the manifest names what this Isthmus does not know, before the block; or
            if the block fails.
    """
    plan, pair = manifest.plan, f"pair {manifest.pair_id} ({manifest.name})"
    chosen_plugins: tuple[tuple[str, plugins.Room, str], ...] = (
        ("variant", "variants", plan.variant.name),
        ("net", "nets", plan.net.name),
        ("scoring", "scores", manifest.detector.scoring.name),
    )
    for what, room, chosen in chosen_plugins:
        # The lookup imports a module of this name, and a manifest may contain any text.
        if not plugins.is_known(room, chosen):
            raise RegistryError(
                f'{pair} is of the {what} "{chosen}", which this Isthmus has not; upgrade isthmus '
                f"to {manifest.isthmus_version} or later"
            )
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RegistryError(
            f"{pair} was made with an option that this Isthmus does not take ({where}: "
            f"{first['msg']}); upgrade isthmus to {manifest.isthmus_version} or later"
        ) from error
    except Exception as error:  # a net that is built for sizes that no job has may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RegistryError(
            f"{pair} is damaged: its weights are not of the autoencoder that its pair.json "
            f"describes ({reason}); restore it, or register the pair again"
        ) from error


def _parts(module: Autoencoder, half: Half) -> tuple[str, ...]:
    """Returns the submodules that a half consists of."""
    return module.ENCODER_PARTS if half == "encoder" else module.DECODER_PARTS


def write_weights(detector: Detector, tables: Sequence[IntTable], folder: Path) -> dict[Half, Path]:
    """Writes the weights of both halves; each file holds only the submodules that the half needs.

    The decoder's file also holds what the detector has beside the pair's own autoencoder, and the
    tables of a pair that compresses.

    Returns:
        The weights file of each half.
    """
    files: dict[Half, Path] = {}
    for half in HALVES:
        state = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in detector.module.state_dict().items()
            if name.partition(".")[0] in _parts(detector.module, half)
        }
        if half == "decoder":
            # Copies, because the halves of a member may share weights, which safetensors refuses.
            found = detectors.tensors_of(detector)
            state.update({name: tensor.clone() for name, tensor in found.items()})
            state.update(code_tables.tensors_of(tables))
        files[half] = folder / weights_file(half)
        save_file(state, files[half])
    return files


def write_artifact(
    folder: Path,
    half: Half,
    manifest: PairManifest,
    files: Sequence[Path],
    example: NDArray[Any],
    output: NDArray[Any],
) -> None:
    """Writes a half as a pyfunc model that any MLflow can load and serve.

    Args:
        folder: The folder of the artifact. It is created.
        half: The half to write.
        manifest: The pair's manifest.
        files: The half's weights and its ONNX graphs. They must be on the same disk as `folder`,
            because they are hard-linked.
        example: Input rows of the half: (N, *row_shape) or (N, latent_dim), in the type it takes.
        output: The half's output for these rows, in the type it gives.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    content = folder.parent / f"{half}-content" / CONTENT_FOLDER
    content.mkdir(parents=True)
    write_manifest(manifest, content)
    for file in files:
        (content / file.name).hardlink_to(file)

    def schema(values: NDArray[Any], name: str) -> Any:
        # The first axis is -1 because a fixed size would refuse any other number of rows.
        return Schema([TensorSpec(values.dtype, (-1, *values.shape[1:]), name)])

    names = ("row", "latent") if half == "encoder" else ("latent", "row")
    pyfunc.save_model(
        path=str(folder),
        # MLflow imports this module by name, so the artifact needs no code and no pickle.
        loader_module="isthmus.registry.pyfunc",
        data_path=str(content),
        mlflow_model=Model(run_id=manifest.run_id, model_id=manifest.models[half]),
        signature=ModelSignature(schema(example, names[0]), schema(output, names[1])),
        input_example=example,
        pip_requirements=pip_requirements(library_versions() | packages_of(manifest.plugins)),
        metadata={"isthmus.pair_id": manifest.pair_id, "isthmus.half": half},
    )

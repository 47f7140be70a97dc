"""Fetches a pair's ONNX graphs, for programs that have onnxruntime but not torch."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.bundle.manifest import (
    GRAPHS,
    HALVES,
    GraphName,
    Half,
    OnnxExport,
    PairManifest,
    check_file,
    onnx_file,
)
from isthmus.errors import RegistryError
from isthmus.registry.fetching import CONTENT_FOLDER
from isthmus.registry.loading import resolve
from isthmus.registry.lookup import open_registry
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def onnx_files(reference: str, settings: Settings) -> Mapping[GraphName, Path]:
    """Returns the paths of a pair's ONNX graphs on this machine, after verifying their hashes.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        settings: The settings that say where the registry and the cache are.

    Returns:
        The files of `encoder` (row to latent), `decoder` (latent to row) and `score` (row to score,
        p_value, is_anomaly). All numbers are float32; only the rows of a pair with a centre, whose
        values are large beside their spread, are float64.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the pair has no graphs, or a file is missing or damaged.
    """
    resolved = resolve(reference, settings)
    manifest = resolved.manifest
    if manifest.onnx is None:
        raise RegistryError(
            f"{resolved.reference} was registered by Isthmus {manifest.isthmus_version} in format "
            "1, without ONNX graphs; train it again"
        )
    graphs = {graph: onnx_file(graph) for half in HALVES for graph in GRAPHS[half]}
    lacking = [name for name in graphs.values() if name not in manifest.onnx.sha256]
    if lacking:
        raise RegistryError(
            f"pair.json of {resolved.reference} is damaged: it has no hash of {lacking[0]}; "
            "restore it, or train the pair again"
        )
    folder = resolved.folder / "onnx"
    if not folder.exists():
        client = open_registry(settings)
        with (
            store_errors(settings.tracking_uri),
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=".onnx-") as name,
        ):
            whole = Path(name) / "whole"
            whole.mkdir()
            for half in HALVES:
                _fetch(client, half, manifest, manifest.onnx, whole)
            try:
                whole.replace(folder)
            except OSError:
                if not folder.exists():  # otherwise another process fetched it first
                    raise
    for file, sha256 in manifest.onnx.sha256.items():
        check_file(folder / file, sha256, manifest)
    return {graph: folder / name for graph, name in graphs.items()}


def _fetch(
    client: MlflowClient, half: Half, manifest: PairManifest, onnx: OnnxExport, folder: Path
) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    location = client.get_logged_model(manifest.models[half]).artifact_location
    wanted = [name for name in onnx.sha256 if name.partition(".")[0] in GRAPHS[half]]
    for name in wanted:
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            try:
                found = download_artifacts(
                    artifact_uri=f"{location}/data/{CONTENT_FOLDER}/{name}",
                    dst_path=temporary,
                    tracking_uri=client.tracking_uri,
                )
            except (MlflowException, OSError) as error:
                raise RegistryError(
                    f"{name} of pair {manifest.pair_id} cannot be fetched from {location}; look "
                    "whether it is there, or register the pair again"
                ) from error
            # For a local store MLflow returns the store's own files, which must not be moved.
            shutil.copyfile(found, folder / name)
        check_file(folder / name, onnx.sha256[name], manifest)

"""From a name to a whole, verified pair on this machine. It never gives a mixed one."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from isthmus import variants
from isthmus.errors import RegistryError
from isthmus.registry.artifacts import CONTENT_FOLDER
from isthmus.registry.compatibility import MAPS_FILE
from isthmus.registry.lookup import find_encoder, open_registry
from isthmus.registry.manifest import (
    HALVES,
    MANIFEST_FILE,
    Half,
    PairManifest,
    check_weights,
    read_manifest,
    weights_file,
)
from isthmus.registry.pair import Pair
from isthmus.registry.reference import Reference
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# A copy of a copy of a copy: more than anyone makes, and the end of a circle.
_MOST_COPIES = 10


@dataclass(frozen=True)
class ResolvedPair:
    """Both halves of one pair, on disk, their hashes verified.

    Attributes:
        reference: Name and version, `digits/3`, whatever alias was asked for.
        version: Of the encoder.
        manifest: Of the pair.
        folder: Holds `pair.json` and both weights files.
    """

    reference: str
    version: int
    manifest: PairManifest
    folder: Path


def resolve(reference: str, settings: Settings) -> ResolvedPair:
    """Finds a pair, fetches what is not here yet, and verifies it.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        settings: Where the registry and the cache are.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If a half is missing, damaged or of another pair, or the registry does not
            answer.
    """
    parsed = Reference.parse(reference)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        encoder = find_encoder(client, parsed)
        # What an MLflow model id names never changes, so it can be kept for ever.
        model_id = _model_id(client, encoder)
        folder = settings.cache / "pairs" / model_id
        if not (folder / MANIFEST_FILE).exists():
            _fetch(client, model_id, folder)
    manifest = read_manifest(folder)
    for half in HALVES:
        check_weights(folder, half, manifest)
    version = int(encoder.version)
    return ResolvedPair(f"{parsed.name}/{version}", version, manifest, folder)


def load(reference: str, settings: Settings) -> Pair:
    """As `resolve`, and builds the pair, ready to use.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If it is not whole.
    """
    return build(resolve(reference, settings))


def build(resolved: ResolvedPair) -> Pair:
    """The pair that was resolved, ready to use."""
    module = variants.build(resolved.manifest.plan)
    state = {}
    for half in HALVES:
        state.update(load_file(resolved.folder / weights_file(half)))
    module.load_halves(state)
    return Pair(module, resolved.manifest, resolved.reference)


def _model_id(client: MlflowClient, version: Any) -> str:
    """MLflow's model behind a version, through the copies that *Promote model* makes."""
    original = version
    for _ in range(_MOST_COPIES):
        if original.model_id:
            return str(original.model_id)
        source = str(original.source).removeprefix("models:/")
        if source.startswith("m-"):
            return source
        name, _, number = source.rpartition("/")
        if not name or not number.isdigit():
            break
        original = client.get_model_version(name, number)
    raise RegistryError(
        f"{version.name} version {version.version} was not registered by Isthmus "
        f"(its source is {version.source}); choose a version that isthmus train made"
    )


def _fetch(client: MlflowClient, encoder_id: str, folder: Path) -> None:
    """Downloads both halves beside `folder`, verifies them, and moves them there as one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as name:
        fetched = Path(name)
        encoder = _download(client, encoder_id, fetched)
        manifest = read_manifest(encoder)
        if manifest.models["encoder"] != encoder_id:
            raise RegistryError(
                f"the artifact of {encoder_id} says it is {manifest.models['encoder']}; register "
                f"the pair {manifest.pair_id} again"
            )
        decoder = _download(client, manifest.models["decoder"], fetched)
        whole = fetched / "whole"
        whole.mkdir()
        (encoder / MANIFEST_FILE).replace(whole / MANIFEST_FILE)
        _take(encoder, "encoder", manifest, whole)
        _take(decoder, "decoder", manifest, whole)
        if manifest.compatibility and (encoder / MAPS_FILE).exists():
            (encoder / MAPS_FILE).replace(whole / MAPS_FILE)
        try:
            os.replace(whole, folder)  # noqa: PTH105 (Path.replace says the same less plainly)
        except OSError:
            if not (folder / MANIFEST_FILE).exists():  # else another process was quicker
                raise


def _download(client: MlflowClient, model_id: str, destination: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    location = client.get_logged_model(model_id).artifact_location
    target = destination / model_id
    target.mkdir()
    found = download_artifacts(
        artifact_uri=f"{location}/data/{CONTENT_FOLDER}",
        dst_path=str(target),
        tracking_uri=client.tracking_uri,
    )
    copied = target / "content"
    # MLflow gives a local store's own files, which must stay as they are.
    shutil.copytree(found, copied)
    return copied


def _take(source: Path, half: Half, manifest: PairManifest, destination: Path) -> None:
    file = check_weights(source, half, manifest)
    file.replace(destination / weights_file(half))

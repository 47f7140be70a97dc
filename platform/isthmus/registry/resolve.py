"""Finds a pair by its name and fetches it, complete and verified. It never mixes two pairs."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.bundle.compatibility import MAPS_FILE
from isthmus.bundle.manifest import (
    HALVES,
    MANIFEST_FILE,
    Half,
    PairManifest,
    check_weights,
    read_manifest,
    weights_file,
)
from isthmus.bundle.tensors import read_tensors
from isthmus.bundle.verification import verify
from isthmus.errors import RegistryError
from isthmus.registry import tags
from isthmus.registry.artifacts import CONTENT_FOLDER, build_detector
from isthmus.registry.device import Device, chosen_device
from isthmus.registry.lookup import find_version, open_registry
from isthmus.registry.pair import Pair
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class ResolvedPair:
    """Both halves of one pair on this machine's disk, with verified hashes.

    Attributes:
        reference: The pair's name and version, such as `digits/3`, also if an alias was asked for.
        version: The version of the encoder, or of a copied decoder if that was asked for.
        manifest: The pair's manifest.
        folder: The folder that holds `pair.json` and both weights files.
    """

    reference: str
    version: int
    manifest: PairManifest
    folder: Path


def resolve(reference: str, settings: Settings) -> ResolvedPair:
    """Finds a pair, fetches it unless it is in the cache, and verifies it.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        settings: The settings that say where the registry and the cache are.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If a half is missing, damaged or part of another pair, or if the registry
            does not answer; or if the gate has not let the champion, where `ISTHMUS_REQUIRE_GATE`
            asks for it.
    """
    parsed = Reference.parse(reference)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        found = find_version(client, parsed)
        if settings.require_gate and parsed.alias == CHAMPION:
            _refuse_unjudged(parsed.name, found)
        folder = fetch(client, found, settings)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    version = int(found.version)
    return ResolvedPair(f"{parsed.name}/{version}", version, manifest, folder)


def _refuse_unjudged(name: str, version: Any) -> None:
    """Refuses a champion that was clicked and is not judged yet, or was refused."""
    if not tags.is_let_by_gate(version.tags):
        verdict = version.tags.get(tags.VERDICT) or "not judged yet"
        raise RegistryError(
            f"{name}@{CHAMPION} is {name}/{version.version}, which the gate has not let "
            f"({verdict}), and ISTHMUS_REQUIRE_GATE=1 asks for that; wait for isthmus watch, or "
            f"run isthmus promote {name} {version.version}"
        )


def fetch(client: MlflowClient, version: Any, settings: Settings) -> Path:
    """Fetches both halves of the pair that a registered version belongs to.

    Returns:
        The folder on this machine that holds both halves.

    Raises:
        RegistryError: If the version is not a half of a pair, or if the pair is incomplete.
    """
    return fetch_model(client, _model_id(client, version), settings)


def fetch_model(client: MlflowClient, model_id: str, settings: Settings) -> Path:
    """Fetches both halves of a pair, given MLflow's model id of either half.

    Returns:
        The folder on this machine that holds both halves.

    Raises:
        RegistryError: If the model is not a half of a pair, or if the pair is incomplete.
    """
    # A model in MLflow never changes, so the cache never has to be refreshed.
    folder = settings.cache / "pairs" / model_id
    if not (folder / MANIFEST_FILE).exists():
        _fetch(client, model_id, folder)
    return folder


def load(reference: str, settings: Settings, device: Device = "cpu") -> Pair:
    """Resolves a pair as `resolve` does, and builds it, ready to use on a device.

    Raises:
        UsageError: If the device is a GPU and there is none.
        ModelNotFound: If there is no such pair.
        RegistryError: If a half is missing, damaged or part of another pair, or if the registry
            does not answer.
    """
    chosen_device(device)  # one that is not there is refused before anything is fetched
    return build(resolve(reference, settings)).to(device)


def build(resolved: ResolvedPair) -> Pair:
    """Builds a resolved pair from its files, ready to use.

    Raises:
        RegistryError: If its weights cannot be read, or do not fit its manifest.
    """
    state = {}
    for half in HALVES:
        state.update(read_tensors(resolved.folder / weights_file(half)))
    detector = build_detector(resolved.manifest, state)
    return Pair(detector, resolved.manifest, resolved.reference)


def _model_id(client: MlflowClient, version: Any) -> str:
    """Returns the id of MLflow's model behind a version, also for copies by *Promote model*.

    The source of a copy is another version, which may have been deleted. MLflow still knows where
    the files are, and their location names the model.
    """
    direct = re.fullmatch(r"models:/(m-[0-9a-f]+)", str(version.source))
    if direct:
        return direct[1]
    location = client.get_model_version_download_uri(version.name, version.version)
    stored = re.search(r"/(m-[0-9a-f]+)/artifacts/?$", location)
    if stored is None:
        raise RegistryError(
            f"{version.name} version {version.version} was not registered by Isthmus "
            f"(its source is {version.source}); choose a version that isthmus train made"
        )
    return stored[1]


def _fetch(client: MlflowClient, model_id: str, folder: Path) -> None:
    """Downloads both halves beside `folder`, verifies them, and renames them to it in one step."""
    with _temporary_beside(folder) as fetched:
        asked = _download(client, model_id, fetched)
        manifest = read_manifest(asked)
        if model_id not in manifest.models.values():
            raise RegistryError(
                f"the artifact of {model_id} says it is {manifest.models['encoder']}; register "
                f"the pair {manifest.pair_id} again"
            )
        encoder, decoder = (
            asked
            if manifest.models[half] == model_id
            else _download(client, manifest.models[half], fetched)
            for half in HALVES
        )
        whole = fetched / "whole"
        whole.mkdir()
        (encoder / MANIFEST_FILE).replace(whole / MANIFEST_FILE)
        _take(encoder, "encoder", manifest, whole)
        _take(decoder, "decoder", manifest, whole)
        if manifest.compatibility and (encoder / MAPS_FILE).exists():
            (encoder / MAPS_FILE).replace(whole / MAPS_FILE)
        try:
            os.replace(whole, folder)  # noqa: PTH105 (Path.replace would read like replacing text)
        except OSError:
            # If the folder is there, another process fetched the same pair in the meantime.
            if not (folder / MANIFEST_FILE).exists():
                raise


@contextmanager
def _temporary_beside(folder: Path) -> Iterator[Path]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-")
    except OSError as error:
        raise RegistryError(
            f"the cache {folder.parent} cannot be written to ({error.strerror}); free its disk, or "
            "set ISTHMUS_HOME to a folder that can be written to"
        ) from error
    with temporary as name:
        yield Path(name)


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
    # For a local store MLflow returns the store's own files, which must not be moved.
    shutil.copytree(found, copied)
    return copied


def _take(source: Path, half: Half, manifest: PairManifest, destination: Path) -> None:
    file = check_weights(source, half, manifest)
    file.replace(destination / weights_file(half))
